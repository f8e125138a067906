import type { PacketHost } from '../src/stack/seams.ts';
import { Address } from '../src/wire/address.ts';
import { complement, fold, pseudoSum4, sumPacket } from '../src/wire/checksum.ts';
import { ChecksumState, type Packet } from '../src/wire/packet.ts';
import { Flag } from '../src/wire/segment.ts';

/** Payload of a packet without options, and of as many of them as one device call takes. */
const SEGMENT = 1460;
const LARGE = SEGMENT * 44;
/** Bytes in flight at first: no more than a device's queue and the receiver's first buffer hold. */
const FIRST_WINDOW = 10 * SEGMENT;

const State = { Idle: 0, SynSent: 1, Sending: 2, Closing: 3, Closed: 4 } as const;

/**
 * The smallest TCP sender that a kernel will talk to, IPv4: fills the peer's window with zeros, from one template. Its
 * window doubles with each round trip; after three equal ACKs or a stop it begins again at what was acknowledged. For
 * measuring what devices and drivers can do, not stacks.
 */
export class FakeSource implements PacketHost {
  /** Times it began again. */
  rewinds = 0;
  private readonly local: Address;
  private readonly peer: Address;
  private readonly port: number;
  private readonly offload: boolean;
  private state: number = State.Idle;
  private until = 0;
  private una = 0;
  private nxt = 0;
  private edge = 0;
  private peerNxt = 0;
  private scale = 0;
  private window = FIRST_WINDOW;
  private equal = 0;
  private owesAck = false;
  private heardAt = 0;

  constructor(local: string, peer: string, port: number, offload: boolean) {
    this.local = Address.of(local);
    this.peer = Address.of(peer);
    this.port = port;
    this.offload = offload;
  }

  /** Connects, and sends until `until`. */
  start(until: number): void {
    this.until = until;
    this.state = State.SynSent;
    this.owesAck = true;
    this.heardAt = performance.now();
  }

  onPacket(now: number, _interfaceId: number, packet: Packet): void {
    const { view, start } = packet;
    if (view.getUint8(start) >>> 4 !== 4 || view.getUint8(start + 9) !== 6) return;
    const tcp = start + (view.getUint8(start) & 15) * 4;
    const flags = view.getUint8(tcp + 13);
    if ((flags & Flag.Rst) !== 0) {
      this.state = State.Closed;
      return;
    }
    this.heardAt = now;
    const ack = view.getUint32(tcp + 8);
    if ((flags & Flag.Syn) !== 0) {
      this.peerNxt = (view.getUint32(tcp + 4) + 1) >>> 0;
      for (let at = tcp + 20; at < tcp + (view.getUint8(tcp + 12) >>> 4) * 4; ) {
        const kind = view.getUint8(at);
        if (kind === 3) this.scale = view.getUint8(at + 2);
        at += kind <= 1 ? 1 : Math.max(2, view.getUint8(at + 1));
      }
      this.state = State.Sending;
      this.una = this.nxt = 1;
      this.edge = 1 + view.getUint16(tcp + 14);
      this.owesAck = true;
      return;
    }
    if ((flags & Flag.Fin) !== 0) {
      this.peerNxt = (this.peerNxt + 1) >>> 0;
      this.owesAck = true;
    }
    const advanced = (ack - (this.una >>> 0)) | 0;
    if (advanced > 0) {
      this.una += advanced;
      if (this.nxt < this.una) this.nxt = this.una;
      this.window += advanced;
      this.equal = 0;
    } else if (advanced === 0 && this.nxt > this.una && ++this.equal === 3) this.rewind();
    const edge = this.una + view.getUint16(tcp + 14) * 2 ** this.scale;
    if (edge > this.edge) this.edge = edge;
  }

  private rewind(): void {
    this.rewinds++;
    this.nxt = this.una;
    this.window = Math.max(FIRST_WINDOW, this.window / 2);
    this.equal = 0;
  }

  onTimeout(now: number): void {
    if (now < this.heardAt + 200) return;
    this.heardAt = now;
    if (this.state === State.SynSent) this.owesAck = true;
    else if (this.nxt > this.una) this.rewind();
  }

  pollTransmit(now: number, out: Packet): number {
    if (this.state === State.SynSent) {
      if (!this.owesAck) return -1;
      this.owesAck = false;
      this.write(out, 0, Flag.Syn, 0);
      return 0;
    }
    if (this.state === State.Sending) {
      if (now >= this.until) {
        this.state = State.Closing;
        this.write(out, this.nxt, Flag.Ack | Flag.Fin, 0);
        return 0;
      }
      const room = Math.min(this.edge, this.una + this.window) - this.nxt;
      const length = Math.min(this.offload ? LARGE : SEGMENT, room - (room % SEGMENT));
      if (length > 0) {
        this.write(out, this.nxt, Flag.Ack, length);
        this.nxt += length;
        this.owesAck = false;
        return 0;
      }
    }
    if (!this.owesAck) return -1;
    this.owesAck = false;
    this.write(out, this.state === State.Closing ? this.nxt + 1 : this.nxt, Flag.Ack, 0);
    return 0;
  }

  private write(out: Packet, sequence: number, flags: number, length: number): void {
    const { view, start } = out;
    const tcp = start + 20;
    const header = (flags & Flag.Syn) !== 0 ? 28 : 20;
    out.end = tcp + header + length;
    view.setUint32(start, 0x4500_0000 | (out.end - start));
    view.setUint32(start + 4, 0x4000);
    view.setUint32(start + 8, 0x4006_0000);
    view.setUint32(start + 12, this.local.w3);
    view.setUint32(start + 16, this.peer.w3);
    view.setUint16(start + 10, complement(sumPacket(out, start, tcp, 0)));
    view.setUint16(tcp, 40_000);
    view.setUint16(tcp + 2, this.port);
    view.setUint32(tcp + 4, sequence >>> 0);
    view.setUint32(tcp + 8, this.peerNxt);
    view.setUint16(tcp + 12, (header << 10) | flags);
    view.setUint16(tcp + 14, 0xffff);
    view.setUint32(tcp + 16, 0);
    if (header > 20) {
      view.setUint32(tcp + 20, 0x0204_0000 | SEGMENT);
      view.setUint32(tcp + 24, 0x0103_0307);
    }
    // The payload is zeros: nobody else writes to this buffer, and of us only the options of a SYN reach that far.
    if (length > 0) out.bytes.fill(0, tcp + 20, tcp + 28);
    const pseudo = pseudoSum4(this.local.w3, this.peer.w3, 6, header + length);
    out.gsoSize = length > SEGMENT ? SEGMENT : 0;
    if (this.offload) {
      view.setUint16(tcp + 16, fold(pseudo));
      out.checksum = ChecksumState.Partial;
    } else {
      view.setUint16(tcp + 16, complement(sumPacket(out, tcp, tcp + header, pseudo)));
      out.checksum = ChecksumState.Unverified;
    }
  }

  pollTimeout(): number {
    return this.state === State.SynSent || this.nxt > this.una ? this.heardAt + 200 : Infinity;
  }

  pollReady(): number {
    return -1;
  }
}
