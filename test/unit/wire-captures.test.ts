import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tracedKey } from '../../src/trace/flows.ts';
import { Address } from '../../src/wire/address.ts';
import { Drop } from '../../src/wire/drop.ts';
import { decodeIp, IpHeader } from '../../src/wire/ip.ts';
import { readMptcpOption } from '../../src/wire/mptcp-codec.ts';
import { Dss, Mptcp, MptcpOptions } from '../../src/wire/mptcp-options.ts';
import {
  buildPacket,
  describePacket,
  emptyPacket,
  formatPacket,
  NotationProblem,
  parsePacket,
} from '../../src/wire/notation.ts';
import { splitOptions } from '../../src/wire/option-notation.ts';
import { Packet } from '../../src/wire/packet.ts';
import { Flag, Segment } from '../../src/wire/segment.ts';
import { decodeTcp, encodeSegment, headerLength } from '../../src/wire/tcp.ts';
import { type CapturedPacket, capture, captureNames, dissection, vectorsMissing } from './wire-vectors.ts';

/** 65 captures of Linux 6.18: 1824 packets, each option that it sends. */

const skip = vectorsMissing;

test('there are 65 captures of 1824 packets', { skip }, () => {
  const names = captureNames();
  assert.equal(names.length, 65);
  assert.equal(
    names.reduce((total, name) => total + capture(name).length, 0),
    1824,
  );
});

for (const name of skip === false ? captureNames() : []) {
  test(`${name}: each packet becomes a line and the same packet again`, () => {
    for (const { ip } of capture(name)) {
      const described = describePacket(ip);
      assert.ok(typeof described !== 'number');
      assert.equal(described.checksum, -1, 'the checksum is right');
      const payload = ip.subarray(ip.length - described.payloadLength);
      for (const origins of [
        undefined,
        {
          sequence: described.sequence,
          acknowledgment: (described.acknowledgment - 17) >>> 0,
          dataSequenceHigh: 0x8123_4567,
          dataSequenceLow: 0xfedc_ba98,
          dataAckHigh: 0x1020_3040,
          dataAckLow: 0x8000_0000,
        },
      ]) {
        const line = formatPacket(described, origins === undefined ? {} : { origins });
        assert.doesNotMatch(line, /\b(raw|opt|rawack|sum|res) /, 'nothing that words could not say');
        const parsed = parsePacket(line, emptyPacket(), origins);
        assert.ok(!(parsed instanceof NotationProblem), line);
        assert.deepEqual(parsed, described);
        assert.deepEqual(buildPacket(parsed, payload), ip, line);
      }
    }
  });

  test(`${name}: every field agrees with another decoder`, () => {
    const packets = capture(name);
    const lines = dissection(name);
    assert.equal(lines.length, packets.length);
    for (let index = 0; index < packets.length; index++) {
      assert.equal(dissect(packets, index), lines[index]);
    }
  });

  test(`${name}: A1.39 A1.40 what is decoded is encoded as Linux did`, () => {
    for (const { ip: bytes } of capture(name)) {
      const packet = copy(bytes);
      const { segment } = decoded(packet);
      const options = bytes.subarray(segment.family === 4 ? 40 : 60, segment.payloadStart);
      // A middlebox wrote NOPs over options; and cookies of Fast Open are not kept in a segment.
      if (/^(?:....)*01010101(?:01)*$/.test(hex(options)) || hex(options).includes('220a')) continue;
      const out = new Packet(2048, 3);
      out.bytes.set(packet.bytes.subarray(segment.payloadStart, segment.payloadEnd), 3 + headerLength(segment));
      encodeSegment(segment, out, segment.length, false);
      assert.equal(hex(out.bytes.subarray(out.start, out.end)), hex(bytes));
    }
  });
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

function copy(bytes: Uint8Array): Packet {
  const packet = new Packet(bytes.length);
  packet.bytes.set(bytes);
  packet.end = bytes.length;
  return packet;
}

function decoded(packet: Packet): { ip: IpHeader; segment: Segment } {
  const ip = new IpHeader();
  const segment = new Segment();
  assert.equal(decodeIp(packet, ip), Drop.None);
  assert.equal(decodeTcp(packet, ip, segment), Drop.None);
  return { ip, segment };
}

/** A packet in the words of the dissections, from our decoder's fields. */
function dissect(packets: readonly CapturedPacket[], index: number): string {
  const captured = packets[index]!;
  const packet = copy(captured.ip);
  const { ip, segment } = decoded(packet);
  const first = packets[0]!;
  const time =
    BigInt(captured.seconds - first.seconds) * 1_000_000n + BigInt((captured.nanoseconds - first.nanoseconds) / 1000);
  const micros = time.toString().padStart(7, '0');
  const acknowledgment = (segment.flags & Flag.Ack) === 0 ? '' : ` ack=${segment.acknowledgment}`;
  const ecn = (segment.trafficClass & 3) === 0 ? '' : ` ecn=${segment.trafficClass & 3}`;
  const pieces = splitOptions(packet.bytes.subarray(ip.payloadStart + 20, segment.payloadStart));
  return (
    `${index + 1} ${micros.slice(0, -6)}.${micros.slice(-6)} ` +
    `${endpoint(segment, true)} > ${endpoint(segment, false)} [${flagLetters(segment.flags)}] ` +
    `seq=${segment.sequence}${acknowledgment} win=${segment.window} len=${segment.length} tcpsum=ok${ecn} ` +
    `<${pieces.map((piece) => option(piece, segment)).join(', ')}>`
  );
}

function endpoint(segment: Segment, isSource: boolean): string {
  const address = isSource
    ? new Address(segment.family, segment.source0, segment.source1, segment.source2, segment.source3)
    : new Address(
        segment.family,
        segment.destination0,
        segment.destination1,
        segment.destination2,
        segment.destination3,
      );
  const port = isSource ? segment.sourcePort : segment.destinationPort;
  return address.family === 4 ? `${address}:${port}` : `[${address}]:${port}`;
}

function flagLetters(flags: number): string {
  const letters = ['S', 'F', 'R', 'P', '.', 'U', 'E', 'W'];
  const bits = [Flag.Syn, Flag.Fin, Flag.Rst, Flag.Psh, Flag.Ack, Flag.Urg, Flag.Ece, Flag.Cwr];
  return letters.filter((_, index) => (flags & bits[index]!) !== 0).join('');
}

/** Kinds and lengths come from the piece, values from what the hot path decoded into `segment`. */
function option(piece: Uint8Array, segment: Segment): string {
  switch (piece[0]) {
    case 1:
      return 'nop';
    case 2:
      return `mss=${segment.mss}`;
    case 3:
      return `wscale=${segment.windowScale}`;
    case 4:
      return 'sackOK';
    case 5: {
      const edges = segment.sackEdges.subarray(0, 2 * segment.sackCount);
      assert.equal(piece.length, 2 + 4 * edges.length);
      return `sack=${edges[0]}-${edges[1]}`;
    }
    case 8:
      return `ts=${segment.timestampValue}/${segment.timestampEcho}`;
    case 34:
      return `tfo=${piece.length === 2 ? 'request' : hex(piece.subarray(2))}`;
    case 30: {
      // The subtype comes from the option alone, so that its place in the list is checked too.
      const alone = new MptcpOptions();
      readMptcpOption(new DataView(piece.buffer, piece.byteOffset), 0, piece.length, segment.flags, alone);
      assert.equal(alone.present & ~segment.mptcp.present, 0);
      return mptcpOption(piece.length, alone.present, segment.mptcp);
    }
    default:
      return `?${hex(piece)}`;
  }
}

function wide(high: number, low: number): string {
  return `0x${high.toString(16).padStart(8, '0')}${low.toString(16).padStart(8, '0')}`;
}

function word(value: number): string {
  return `0x${value.toString(16).padStart(8, '0')}`;
}

function decimal(high: number, low: number): string {
  return ((BigInt(high) << 32n) | BigInt(low)).toString();
}

function mptcpOption(length: number, present: number, options: MptcpOptions): string {
  if ((present & (Mptcp.CapableSyn | Mptcp.CapableSynAck | Mptcp.CapableAck)) !== 0) {
    const letters = [...'ABCDEFGH'].filter((_, bit) => (options.capableFlags & (0x80 >> bit)) !== 0).join('');
    const flags = options.capableFlags.toString(16).padStart(2, '0');
    const parts = [`len=${length} v${options.version} flags=0x${flags} (${letters})`];
    if (length >= 12) parts.push(`sender_key=${wide(options.senderKeyHigh, options.senderKeyLow)}`);
    if (length >= 20) parts.push(`receiver_key=${wide(options.receiverKeyHigh, options.receiverKeyLow)}`);
    if (length >= 22) parts.push(`data_len=${options.dataLength}`);
    if (length === 24) parts.push(`checksum=0x${options.checksum.toString(16).padStart(4, '0')}`);
    if (length >= 12) {
      const key = tracedKey(options.senderKeyHigh, options.senderKeyLow);
      parts.push(`{expected_token=${word(key.token)}} {expected_idsn=${wide(key.idsnHigh, key.idsnLow)}}`);
    }
    return `MP_CAPABLE(${parts.join(' ')})`;
  }
  switch (present) {
    case Mptcp.JoinSyn: {
      const backup = options.joinBackup ? 'B ' : '';
      const rest = `token=${word(options.joinToken)} nonce=${word(options.joinNonce)}`;
      return `MP_JOIN(len=12 SYN ${backup}addr_id=${options.joinAddressId} ${rest})`;
    }
    case Mptcp.JoinSynAck: {
      const backup = options.joinBackup ? 'B ' : '';
      const hmac = hex(options.joinHmac.subarray(0, 8));
      const rest = `addr_id=${options.joinAddressId} hmac64=0x${hmac} nonce=${word(options.joinNonce)}`;
      return `MP_JOIN(len=16 SYN/ACK ${backup}${rest})`;
    }
    case Mptcp.JoinAck:
      return `MP_JOIN(len=24 ACK hmac160=${hex(options.joinHmac)})`;
    case Mptcp.Dss:
      return dss(length, options);
    case Mptcp.AddAddress: {
      const address = new Address(options.addFamily, options.add0, options.add1, options.add2, options.add3);
      const port = options.addPort === 0 ? '' : ` port=${options.addPort}`;
      const hmac = options.addEcho ? '' : ` hmac64=${wide(options.addHmacHigh, options.addHmacLow)}`;
      const kind = options.addEcho ? 'echo' : 'announce';
      return `ADD_ADDR(len=${length} ${kind} addr_id=${options.addId} addr=${address}${port}${hmac})`;
    }
    case Mptcp.RemoveAddress:
      return `REMOVE_ADDR(len=${length} addr_ids=${options.removeIds.subarray(0, options.removeCount).join(',')})`;
    case Mptcp.Priority:
      return `MP_PRIO(len=3 backup=${options.priorityBackup ? 1 : 0})`;
    case Mptcp.Fail:
      return `MP_FAIL(len=12 dsn8=${decimal(options.failHigh, options.failLow)})`;
    case Mptcp.FastClose:
      return `MP_FASTCLOSE(len=12 receiver_key=${wide(options.fastCloseKeyHigh, options.fastCloseKeyLow)})`;
    case Mptcp.Reset:
      return `MP_TCPRST(len=4 T=${options.resetFlags} reason=0x${options.resetReason.toString(16).padStart(2, '0')})`;
    default:
      return `?${present}`;
  }
}

function dss(length: number, options: MptcpOptions): string {
  const flags = options.dssFlags;
  const bits = [Dss.Fin, Dss.Map64, Dss.Map, Dss.Ack64, Dss.Ack];
  const parts = [`len=${length} flags=${[...'FmMaA'].filter((_, at) => (flags & bits[at]!) !== 0).join('')}`];
  if ((flags & Dss.Ack64) !== 0) parts.push(`data_ack8=${decimal(options.dataAckHigh, options.dataAckLow)}`);
  else if ((flags & Dss.Ack) !== 0) parts.push(`data_ack4=${options.dataAckLow}`);
  if ((flags & Dss.Map) !== 0) {
    const wideSequence = decimal(options.dataSequenceHigh, options.dataSequenceLow);
    parts.push((flags & Dss.Map64) !== 0 ? `dsn8=${wideSequence}` : `dsn4=${options.dataSequenceLow}`);
    parts.push(`ssn=${options.subflowSequence}`, `dll=${options.dataLength}`);
    assert.equal(options.hasChecksum, length % 4 === 0, 'in these captures only');
  }
  return `DSS(${parts.join(' ')})`;
}
