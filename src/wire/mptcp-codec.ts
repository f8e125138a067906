import { Capable, Dss, Mptcp, type MptcpOptions } from './mptcp-options.ts';

/**
 * Reader and writers of the version 1 options (RFC 8684 §3). One option is read or written at a time, so that the hot
 * path (`tcp`) and the notation share the layouts. Version 0 (RFC 6824) differs in MP_CAPABLE, MP_JOIN, ADD_ADDR,
 * REMOVE_ADDR and MP_PRIO; its layouts belong in a file beside this one.
 */

/** TCP option kind of Multipath TCP. */
export const MPTCP_KIND = 30;

/** The version these layouts are of. */
export const MPTCP_VERSION = 1;

/** Option subtypes (RFC 8684 §8.2). */
export const Subtype = {
  Capable: 0,
  Join: 1,
  Dss: 2,
  AddAddress: 3,
  RemoveAddress: 4,
  Priority: 5,
  Fail: 6,
  FastClose: 7,
  Reset: 8,
} as const;

const NOP = 1;
const SYN = 0x02;
const RST = 0x04;
const ACK = 0x10;

const CAPABLE_ANY = Mptcp.CapableSyn | Mptcp.CapableSynAck | Mptcp.CapableAck | Mptcp.CapableData;
const JOIN_ANY = Mptcp.JoinSyn | Mptcp.JoinSynAck | Mptcp.JoinAck;
const SKIPPED = Mptcp.Unknown | Mptcp.Malformed;

/** At most this many ids in one REMOVE_ADDR, as in Linux; the option's length would allow 37. */
const MAX_REMOVED = 8;

/**
 * Reads the option of kind 30 at `at`, whose `length` (2 or more) lies inside the header, into `options`, which keeps
 * what earlier options of the segment brought. `flags` are the TCP flags, as MP_CAPABLE and MP_JOIN differ by them.
 *
 * What fits no layout sets `Mptcp.Malformed` and is skipped; so does a second option of a sort that a segment can have
 * only once, as the first one stands (RFC 8684 names no rule; Linux keeps an allow-list by subtype).
 */
export function readMptcpOption(
  view: DataView,
  at: number,
  length: number,
  flags: number,
  options: MptcpOptions,
): void {
  if (length < 3) {
    options.present |= Mptcp.Malformed;
    return;
  }
  const first = view.getUint8(at + 2);
  switch (first >> 4) {
    case Subtype.Dss:
      readDss(view, at, length, options);
      return;
    case Subtype.Capable:
      readCapable(view, at, length, flags, options);
      return;
    case Subtype.Join:
      readJoin(view, at, length, flags, options);
      return;
    case Subtype.AddAddress:
      readAddAddress(view, at, length, options);
      return;
    case Subtype.RemoveAddress:
      readRemoveAddress(view, at, length, options);
      return;
    case Subtype.Priority:
      // Version 0 may add an address id (length 4). RFC 8684 §3.3.8 has the short form alone.
      if (length !== 3 || (options.present & Mptcp.Priority) !== 0) break;
      options.present |= Mptcp.Priority;
      options.priorityBackup = (first & 1) !== 0;
      return;
    case Subtype.Fail:
      if (length !== 12 || (options.present & Mptcp.Fail) !== 0) break;
      options.present |= Mptcp.Fail;
      options.failHigh = view.getUint32(at + 4);
      options.failLow = view.getUint32(at + 8);
      return;
    case Subtype.FastClose:
      if (length !== 12 || (options.present & Mptcp.FastClose) !== 0) break;
      options.present |= Mptcp.FastClose;
      options.fastCloseKeyHigh = view.getUint32(at + 4);
      options.fastCloseKeyLow = view.getUint32(at + 8);
      return;
    case Subtype.Reset:
      // RFC 8684 §3.6: the option explains a RST; elsewhere it says nothing.
      if (length !== 4 || (flags & RST) === 0 || (options.present & Mptcp.Reset) !== 0) break;
      options.present |= Mptcp.Reset;
      options.resetFlags = first & 0xf;
      options.resetReason = view.getUint8(at + 3);
      return;
    default:
      options.present |= Mptcp.Unknown;
      return;
  }
  options.present |= Mptcp.Malformed;
}

/**
 * Whether the MP_CAPABLE that was read takes part in version 1: RFC 8684 §3.1 has a receiver of bit B ("extensibility")
 * ignore the option, and asks for the one algorithm, H. A SYN may offer a later version, which the answer lowers; Linux
 * does the same. All else must say 1. Linux wants the low five bits to be H alone: so do we, as D to G would announce
 * algorithms that nobody has defined.
 */
export function capableUsable(options: MptcpOptions): boolean {
  if ((options.present & CAPABLE_ANY) === 0) return false;
  if ((options.present & Mptcp.CapableSyn) !== 0) {
    if (options.version < MPTCP_VERSION) return false;
  } else if (options.version !== MPTCP_VERSION) return false;
  return (options.capableFlags & Capable.Extensible) === 0 && (options.capableFlags & 0x1f) === Capable.HmacSha256;
}

function readCapable(view: DataView, at: number, length: number, flags: number, options: MptcpOptions): void {
  // Nothing but REMOVE_ADDR may stand beside it, and that only in the third segment.
  const beside = options.present & ~(SKIPPED | ((flags & SYN) === 0 ? Mptcp.RemoveAddress : 0));
  let form = 0;
  if ((flags & SYN) === 0) {
    if ((flags & ACK) === 0) form = 0;
    else if (length === 20) form = Mptcp.CapableAck;
    else if (length === 22 || length === 24) form = Mptcp.CapableAck | Mptcp.CapableData;
  } else if ((flags & ACK) === 0) {
    if (length === 4) form = Mptcp.CapableSyn;
  } else if (length === 12) form = Mptcp.CapableSynAck;
  if (form === 0 || beside !== 0) {
    // A SYN of version 0 carries a key: 12 bytes. The version is kept for whoever counts such offers.
    if (beside === 0) options.version = view.getUint8(at + 2) & 0xf;
    options.present |= Mptcp.Malformed;
    return;
  }
  options.present |= form;
  options.version = view.getUint8(at + 2) & 0xf;
  options.capableFlags = view.getUint8(at + 3);
  if (length < 12) return;
  options.senderKeyHigh = view.getUint32(at + 4);
  options.senderKeyLow = view.getUint32(at + 8);
  if (length < 20) return;
  options.receiverKeyHigh = view.getUint32(at + 12);
  options.receiverKeyLow = view.getUint32(at + 16);
  options.hasChecksum = length === 24;
  options.dataLength = length >= 22 ? view.getUint16(at + 20) : 0;
  options.checksum = length === 24 ? view.getUint16(at + 22) : 0;
}

function readJoin(view: DataView, at: number, length: number, flags: number, options: MptcpOptions): void {
  let form = 0;
  if ((flags & SYN) === 0) {
    if (length === 24 && (flags & ACK) !== 0) form = Mptcp.JoinAck;
  } else if ((flags & ACK) === 0) {
    if (length === 12) form = Mptcp.JoinSyn;
  } else if (length === 16) form = Mptcp.JoinSynAck;
  if (form === 0 || (options.present & ~(SKIPPED | Mptcp.RemoveAddress | Mptcp.Priority)) !== 0) {
    options.present |= Mptcp.Malformed;
    return;
  }
  options.present |= form;
  if (form === Mptcp.JoinAck) {
    options.joinBackup = false;
    options.joinAddressId = 0;
    for (let index = 0; index < 20; index++) options.joinHmac[index] = view.getUint8(at + 4 + index);
    return;
  }
  options.joinBackup = (view.getUint8(at + 2) & 1) !== 0;
  options.joinAddressId = view.getUint8(at + 3);
  if (form === Mptcp.JoinSyn) {
    options.joinToken = view.getUint32(at + 4);
    options.joinNonce = view.getUint32(at + 8);
    return;
  }
  for (let index = 0; index < 8; index++) options.joinHmac[index] = view.getUint8(at + 4 + index);
  options.joinNonce = view.getUint32(at + 12);
}

function readDss(view: DataView, at: number, length: number, options: MptcpOptions): void {
  if ((options.present & (CAPABLE_ANY | JOIN_ANY | Mptcp.Dss)) !== 0 || length < 4) {
    options.present |= Mptcp.Malformed;
    return;
  }
  const flags = view.getUint8(at + 3) & 0x1f;
  const expected = dssBytes(flags, false);
  const hasChecksum = length === expected + 2 && (flags & Dss.Map) !== 0;
  if (length !== expected && !hasChecksum) {
    options.present |= Mptcp.Malformed;
    return;
  }
  options.present |= Mptcp.Dss;
  options.dssFlags = flags;
  options.hasChecksum = hasChecksum;
  let next = at + 4;
  if ((flags & Dss.Ack) !== 0) {
    options.dataAckHigh = 0;
    if ((flags & Dss.Ack64) !== 0) {
      options.dataAckHigh = view.getUint32(next);
      next += 4;
    }
    options.dataAckLow = view.getUint32(next);
    next += 4;
  }
  if ((flags & Dss.Map) !== 0) {
    options.dataSequenceHigh = 0;
    if ((flags & Dss.Map64) !== 0) {
      options.dataSequenceHigh = view.getUint32(next);
      next += 4;
    }
    options.dataSequenceLow = view.getUint32(next);
    options.subflowSequence = view.getUint32(next + 4);
    options.dataLength = view.getUint16(next + 8);
    options.checksum = hasChecksum ? view.getUint16(next + 10) : 0;
  }
}

function readAddAddress(view: DataView, at: number, length: number, options: MptcpOptions): void {
  const echo = (view.getUint8(at + 2) & 1) !== 0;
  // Without the HMAC of an announcement the lengths of both forms are 8, 10, 20 and 22.
  const bare = echo ? length : length - 8;
  if ((bare !== 8 && bare !== 10 && bare !== 20 && bare !== 22) || (options.present & Mptcp.AddAddress) !== 0) {
    options.present |= Mptcp.Malformed;
    return;
  }
  options.present |= Mptcp.AddAddress;
  options.addEcho = echo;
  options.addId = view.getUint8(at + 3);
  let next = at + 4;
  if (bare < 20) {
    options.addFamily = 4;
    options.add0 = 0;
    options.add1 = 0;
    options.add2 = 0;
  } else {
    options.addFamily = 6;
    options.add0 = view.getUint32(next);
    options.add1 = view.getUint32(next + 4);
    options.add2 = view.getUint32(next + 8);
    next += 12;
  }
  options.add3 = view.getUint32(next);
  next += 4;
  options.addPort = 0;
  if (bare === 10 || bare === 22) {
    options.addPort = view.getUint16(next);
    next += 2;
  }
  options.addHmacHigh = echo ? 0 : view.getUint32(next);
  options.addHmacLow = echo ? 0 : view.getUint32(next + 4);
}

function readRemoveAddress(view: DataView, at: number, length: number, options: MptcpOptions): void {
  const count = length - 3;
  if (count < 1 || count > MAX_REMOVED || (options.present & Mptcp.RemoveAddress) !== 0) {
    options.present |= Mptcp.Malformed;
    return;
  }
  options.present |= Mptcp.RemoveAddress;
  options.removeCount = count;
  for (let index = 0; index < count; index++) options.removeIds[index] = view.getUint8(at + 3 + index);
}

function dssBytes(flags: number, hasChecksum: boolean): number {
  let bytes = 4;
  if ((flags & Dss.Ack) !== 0) bytes += (flags & Dss.Ack64) !== 0 ? 8 : 4;
  if ((flags & Dss.Map) !== 0) bytes += ((flags & Dss.Map64) !== 0 ? 14 : 10) + (hasChecksum ? 2 : 0);
  return bytes;
}

function capableBytes(options: MptcpOptions): number {
  if ((options.present & Mptcp.CapableSyn) !== 0) return 4;
  if ((options.present & Mptcp.CapableSynAck) !== 0) return 12;
  if ((options.present & Mptcp.CapableData) === 0) return 20;
  return options.hasChecksum ? 24 : 22;
}

function addAddressBytes(options: MptcpOptions): number {
  return (options.addFamily === 4 ? 8 : 20) + (options.addPort === 0 ? 0 : 2) + (options.addEcho ? 0 : 8);
}

/**
 * Bytes that `writeMptcpOptions` writes for the same record: each option and the NOPs that take it to a multiple of 4.
 */
export function mptcpOptionsLength(options: MptcpOptions): number {
  const present = options.present;
  let bytes = 0;
  if ((present & Mptcp.Dss) !== 0) bytes += (dssBytes(options.dssFlags, options.hasChecksum) + 3) & ~3;
  if ((present & ~(Mptcp.Dss | SKIPPED)) === 0) return bytes;
  if ((present & CAPABLE_ANY) !== 0) bytes += (capableBytes(options) + 3) & ~3;
  if ((present & Mptcp.JoinSyn) !== 0) bytes += 12;
  else if ((present & Mptcp.JoinSynAck) !== 0) bytes += 16;
  else if ((present & Mptcp.JoinAck) !== 0) bytes += 24;
  if ((present & Mptcp.AddAddress) !== 0) bytes += (addAddressBytes(options) + 3) & ~3;
  if ((present & Mptcp.FastClose) !== 0) bytes += 12;
  if ((present & Mptcp.Fail) !== 0) bytes += 12;
  if ((present & Mptcp.Reset) !== 0) bytes += 4;
  if ((present & Mptcp.Priority) !== 0) bytes += 4;
  if ((present & Mptcp.RemoveAddress) !== 0) bytes += (3 + options.removeCount + 3) & ~3;
  return bytes;
}

/**
 * Writes all options of `options.present` at `at`, in the order of Linux, each padded by NOPs to 4 bytes; returns the
 * offset behind them. `Unknown` and `Malformed` cannot be written and count for nothing.
 */
export function writeMptcpOptions(view: DataView, at: number, options: MptcpOptions): number {
  const present = options.present;
  let next = at;
  if ((present & Mptcp.Dss) !== 0) next = pad(view, next, writeDss(view, next, options));
  if ((present & ~(Mptcp.Dss | SKIPPED)) === 0) return next;
  if ((present & CAPABLE_ANY) !== 0) next = pad(view, next, writeCapable(view, next, options));
  if ((present & JOIN_ANY) !== 0) next += writeJoin(view, next, options);
  if ((present & Mptcp.AddAddress) !== 0) next = pad(view, next, writeAddAddress(view, next, options));
  if ((present & Mptcp.FastClose) !== 0) {
    next += writeWide(view, next, Subtype.FastClose, options.fastCloseKeyHigh, options.fastCloseKeyLow);
  }
  if ((present & Mptcp.Fail) !== 0) next += writeWide(view, next, Subtype.Fail, options.failHigh, options.failLow);
  if ((present & Mptcp.Reset) !== 0) {
    writeHead(view, next, 4, (Subtype.Reset << 4) | (options.resetFlags & 0xf), options.resetReason);
    next += 4;
  }
  if ((present & Mptcp.Priority) !== 0) {
    writeHead(view, next, 3, (Subtype.Priority << 4) | (options.priorityBackup ? 1 : 0), NOP);
    next += 4;
  }
  if ((present & Mptcp.RemoveAddress) !== 0) next = pad(view, next, writeRemoveAddress(view, next, options));
  return next;
}

/** Kind, length, subtype with its flags, and the byte after it. */
function writeHead(view: DataView, at: number, length: number, third: number, fourth: number): void {
  view.setUint32(at, (MPTCP_KIND << 24) | (length << 16) | (third << 8) | fourth);
}

/** NOPs behind an option of `length` bytes at `at`; returns the offset behind them. */
function pad(view: DataView, at: number, length: number): number {
  const end = at + ((length + 3) & ~3);
  for (let next = at + length; next < end; next++) view.setUint8(next, NOP);
  return end;
}

function writeCapable(view: DataView, at: number, options: MptcpOptions): number {
  const length = capableBytes(options);
  writeHead(view, at, length, (Subtype.Capable << 4) | (options.version & 0xf), options.capableFlags);
  if (length < 12) return length;
  view.setUint32(at + 4, options.senderKeyHigh);
  view.setUint32(at + 8, options.senderKeyLow);
  if (length < 20) return length;
  view.setUint32(at + 12, options.receiverKeyHigh);
  view.setUint32(at + 16, options.receiverKeyLow);
  if (length >= 22) view.setUint16(at + 20, options.dataLength);
  if (length === 24) view.setUint16(at + 22, options.checksum);
  return length;
}

function writeJoin(view: DataView, at: number, options: MptcpOptions): number {
  const backup = (Subtype.Join << 4) | (options.joinBackup ? 1 : 0);
  if ((options.present & Mptcp.JoinSyn) !== 0) {
    writeHead(view, at, 12, backup, options.joinAddressId);
    view.setUint32(at + 4, options.joinToken);
    view.setUint32(at + 8, options.joinNonce);
    return 12;
  }
  if ((options.present & Mptcp.JoinSynAck) !== 0) {
    writeHead(view, at, 16, backup, options.joinAddressId);
    for (let index = 0; index < 8; index++) view.setUint8(at + 4 + index, options.joinHmac[index]!);
    view.setUint32(at + 12, options.joinNonce);
    return 16;
  }
  // RFC 8684 §3.2, figure 7: twelve reserved bits, neither B nor an id.
  writeHead(view, at, 24, Subtype.Join << 4, 0);
  for (let index = 0; index < 20; index++) view.setUint8(at + 4 + index, options.joinHmac[index]!);
  return 24;
}

function writeDss(view: DataView, at: number, options: MptcpOptions): number {
  const flags = options.dssFlags & 0x1f;
  const length = dssBytes(flags, options.hasChecksum);
  writeHead(view, at, length, Subtype.Dss << 4, flags);
  let next = at + 4;
  if ((flags & Dss.Ack) !== 0) {
    if ((flags & Dss.Ack64) !== 0) {
      view.setUint32(next, options.dataAckHigh);
      next += 4;
    }
    view.setUint32(next, options.dataAckLow);
    next += 4;
  }
  if ((flags & Dss.Map) !== 0) {
    if ((flags & Dss.Map64) !== 0) {
      view.setUint32(next, options.dataSequenceHigh);
      next += 4;
    }
    view.setUint32(next, options.dataSequenceLow);
    view.setUint32(next + 4, options.subflowSequence);
    view.setUint16(next + 8, options.dataLength);
    if (options.hasChecksum) view.setUint16(next + 10, options.checksum);
  }
  return length;
}

function writeAddAddress(view: DataView, at: number, options: MptcpOptions): number {
  const length = addAddressBytes(options);
  writeHead(view, at, length, (Subtype.AddAddress << 4) | (options.addEcho ? 1 : 0), options.addId);
  let next = at + 4;
  if (options.addFamily === 6) {
    view.setUint32(next, options.add0);
    view.setUint32(next + 4, options.add1);
    view.setUint32(next + 8, options.add2);
    next += 12;
  }
  view.setUint32(next, options.add3);
  next += 4;
  if (options.addPort !== 0) {
    view.setUint16(next, options.addPort);
    next += 2;
  }
  if (!options.addEcho) {
    view.setUint32(next, options.addHmacHigh);
    view.setUint32(next + 4, options.addHmacLow);
  }
  return length;
}

function writeRemoveAddress(view: DataView, at: number, options: MptcpOptions): number {
  const count = options.removeCount;
  view.setUint16(at, (MPTCP_KIND << 8) | (3 + count));
  view.setUint8(at + 2, Subtype.RemoveAddress << 4);
  for (let index = 0; index < count; index++) view.setUint8(at + 3 + index, options.removeIds[index]!);
  return 3 + count;
}

/** MP_FAIL and MP_FASTCLOSE: twelve reserved bits and a 64-bit number. */
function writeWide(view: DataView, at: number, subtype: number, high: number, low: number): number {
  writeHead(view, at, 12, subtype << 4, 0);
  view.setUint32(at + 4, high);
  view.setUint32(at + 8, low);
  return 12;
}
