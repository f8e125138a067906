import { MPTCP_KIND, mptcpOptionsLength, readMptcpOption, writeMptcpOptions } from './mptcp-codec.ts';
import { Flag, Option, type Segment } from './segment.ts';

/**
 * The option list of a TCP header (RFC 9293 §3.2), MPTCP's through `mptcp-codec`. Written in the order of Linux, so
 * that what stands on the wire looks like its packets: maximum segment size, SACK permitted, timestamps, window scale,
 * SACK blocks, Fast Open, MPTCP.
 */

/** TCP option kinds. */
export const Kind = {
  End: 0,
  Nop: 1,
  MaximumSegmentSize: 2,
  WindowScale: 3,
  SackPermitted: 4,
  Sack: 5,
  Timestamps: 8,
  Md5: 19,
  Authentication: 29,
  Mptcp: MPTCP_KIND,
  FastOpen: 34,
} as const;

/** Bytes of options that a TCP header has room for. */
export const MAX_OPTIONS = 40;

/** NOP, NOP, kind 8, length 10. */
const ALIGNED_TIMESTAMPS = 0x0101_080a;
/** RFC 7323 §2.3: a larger shift counts as 14. */
const MAX_WINDOW_SCALE = 14;
const MAX_SACK_BLOCKS = 4;

/** Reads the options in `[start, end)` into `segment`, whose flags are already set. */
export function readOptions(view: DataView, start: number, end: number, segment: Segment): void {
  let at = start;
  // Nearly every segment of an established connection begins so (RFC 7323 appendix A).
  if (end - at >= 12 && view.getUint32(at) === ALIGNED_TIMESTAMPS) {
    segment.options |= Option.Timestamps;
    segment.timestampValue = view.getUint32(at + 4);
    segment.timestampEcho = view.getUint32(at + 8);
    at += 12;
  }
  while (at < end) {
    const kind = view.getUint8(at);
    if (kind === Kind.Nop) {
      at++;
      continue;
    }
    // RFC 9293 §3.1: an illegal length ends the list; what was read before it stands and the segment lives.
    if (kind === Kind.End || at + 1 >= end) return;
    const length = view.getUint8(at + 1);
    if (length < 2 || length > end - at) return;
    if (kind === MPTCP_KIND) readMptcpOption(view, at, length, segment.flags, segment.mptcp);
    else readOption(view, at, kind, length, segment);
    at += length;
  }
}

/** An option of a length that its kind does not have is skipped, as is a kind that is unknown (RFC 9293 §3.1, MUST-6). */
export function readOption(view: DataView, at: number, kind: number, length: number, segment: Segment): void {
  switch (kind) {
    case Kind.Timestamps:
      if (length !== 10) return;
      segment.options |= Option.Timestamps;
      segment.timestampValue = view.getUint32(at + 2);
      segment.timestampEcho = view.getUint32(at + 6);
      return;
    case Kind.Sack: {
      const count = (length - 2) >> 3;
      if (count < 1 || count > MAX_SACK_BLOCKS || length !== 2 + (count << 3)) return;
      segment.options |= Option.Sack;
      segment.sackCount = count;
      for (let index = 0; index < count << 1; index++) {
        segment.sackEdges[index] = view.getUint32(at + 2 + (index << 2));
      }
      return;
    }
    // RFC 9293 §3.7.1, RFC 7323 §2.2 and RFC 2018 §2: these three belong to the SYN; elsewhere they are ignored.
    case Kind.MaximumSegmentSize:
      if (length !== 4 || (segment.flags & Flag.Syn) === 0) return;
      segment.options |= Option.MaximumSegmentSize;
      segment.mss = view.getUint16(at + 2);
      return;
    case Kind.WindowScale: {
      if (length !== 3 || (segment.flags & Flag.Syn) === 0) return;
      const shift = view.getUint8(at + 2);
      segment.options |= Option.WindowScale;
      segment.windowScale = Math.min(shift, MAX_WINDOW_SCALE);
      return;
    }
    case Kind.SackPermitted:
      if (length !== 2 || (segment.flags & Flag.Syn) === 0) return;
      segment.options |= Option.SackPermitted;
      return;
    case Kind.Md5:
    case Kind.Authentication:
      segment.options |= Option.Authentication;
      return;
    case Kind.FastOpen:
      segment.options |= Option.FastOpen;
      return;
  }
}

/** Bytes of all options that `segment` asks for, padding included: what `writeOptions` writes. May exceed 40. */
export function optionsLength(segment: Segment): number {
  const options = segment.options;
  let bytes = 0;
  if ((options & Option.Timestamps) !== 0) bytes = 12;
  if ((options & Option.Sack) !== 0 && segment.sackCount > 0) bytes += 4 + (segment.sackCount << 3);
  if ((options & HANDSHAKE) !== 0) {
    if ((options & Option.MaximumSegmentSize) !== 0) bytes += 4;
    // The timestamps' two NOPs make room for it.
    if ((options & SACK_AND_TIMESTAMPS) === Option.SackPermitted) bytes += 4;
    if ((options & Option.WindowScale) !== 0) bytes += 4;
    if ((options & Option.FastOpen) !== 0) bytes += 4;
  }
  return segment.mptcp.present === 0 ? bytes : bytes + mptcpOptionsLength(segment.mptcp);
}

const HANDSHAKE = Option.MaximumSegmentSize | Option.SackPermitted | Option.WindowScale | Option.FastOpen;
const SACK_AND_TIMESTAMPS = Option.SackPermitted | Option.Timestamps;

/** Writes the options at `start`; returns the offset behind them, a multiple of 4 further on. */
export function writeOptions(view: DataView, start: number, segment: Segment): number {
  const options = segment.options;
  let at = start;
  if ((options & Option.MaximumSegmentSize) !== 0) {
    view.setUint32(at, 0x0204_0000 | segment.mss);
    at += 4;
  }
  if ((options & Option.Timestamps) !== 0) {
    view.setUint32(at, (options & Option.SackPermitted) !== 0 ? 0x0402_080a : ALIGNED_TIMESTAMPS);
    view.setUint32(at + 4, segment.timestampValue);
    view.setUint32(at + 8, segment.timestampEcho);
    at += 12;
  } else if ((options & Option.SackPermitted) !== 0) {
    view.setUint32(at, 0x0101_0402);
    at += 4;
  }
  if ((options & Option.WindowScale) !== 0) {
    view.setUint32(at, 0x0103_0300 | segment.windowScale);
    at += 4;
  }
  if ((options & Option.Sack) !== 0 && segment.sackCount > 0) {
    view.setUint32(at, 0x0101_0500 | (2 + (segment.sackCount << 3)));
    at += 4;
    for (let index = 0; index < segment.sackCount << 1; index++) {
      view.setUint32(at, segment.sackEdges[index]!);
      at += 4;
    }
  }
  if ((options & Option.FastOpen) !== 0) {
    // RFC 7413 §4.1.1: without a cookie it asks for one.
    view.setUint32(at, 0x2202_0101);
    at += 4;
  }
  return segment.mptcp.present === 0 ? at : writeMptcpOptions(view, at, segment.mptcp);
}
