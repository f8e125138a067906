import { Address } from '../wire/address.ts';
import { Mptcp } from '../wire/mptcp-options.ts';
import type { Origins } from '../wire/notation.ts';
import { Flag, type Segment } from '../wire/segment.ts';
import { sha256 } from '../wire/sha256.ts';

/**
 * Which connection a captured segment belongs to: TCP connections by their addresses and ports, and those that Multipath
 * TCP binds together by the keys and tokens seen (RFC 8684 §3.1, §3.2). Gives each direction its origins, so that
 * numbers can be shown as offsets: SYN 0, first byte 1, initial data sequence number 0.
 */

/** A key seen on the wire and what follows from it. */
export interface TracedKey {
  readonly high: number;
  readonly low: number;
  /** First 32 bits of SHA-256(key). */
  readonly token: number;
  readonly idsnHigh: number;
  readonly idsnLow: number;
}

/** A connection as the applications see it: one TCP connection, or the subflows that MPTCP joins. */
export interface TracedConnection {
  /** Counted from 1 in the order of appearance. */
  readonly number: number;
  readonly subflows: TracedSubflow[];
  /** Key of the side that sent the first SYN, and of the other; undefined until seen, or in plain TCP. */
  clientKey: TracedKey | undefined;
  serverKey: TracedKey | undefined;
  readonly isMultipath: boolean;
}

/** One TCP connection. */
export interface TracedSubflow {
  readonly connection: TracedConnection;
  /** Counted from 0 within its connection. */
  readonly id: number;
  /** Who sent the first SYN, or the first segment when no SYN was captured. */
  readonly initiator: Address;
  readonly initiatorPort: number;
  readonly responder: Address;
  readonly responderPort: number;
  /** Whether the initiator is on the connection's client side; only the server's own joins say false. */
  readonly fromClient: boolean;
  /** Initial sequence numbers; guessed as one less than the first number seen when the SYN was not. */
  initiatorIsn: number | undefined;
  responderIsn: number | undefined;
}

/** One segment's place. */
export interface TracedSegment {
  readonly subflow: TracedSubflow;
  /** From the subflow's initiator to its responder. */
  readonly forward: boolean;
  /** What its numbers are relative to. */
  readonly origins: Origins;
}

/** Beyond this the connections seen longest ago are forgotten: a capture may hold a SYN flood. */
const MAX_FLOWS = 100_000;

export class FlowTracker {
  /** In the order of appearance. */
  readonly connections = new Set<TracedConnection>();
  readonly #flows = new Map<string, TracedSubflow>();
  /** Receiver of a token: the connection, and whether the token is the client's. */
  readonly #tokens = new Map<number, { readonly connection: TracedConnection; readonly isClient: boolean }>();
  #nextNumber = 1;

  /** Files one decoded segment; segments come in the order of the capture. */
  onSegment(segment: Segment): TracedSegment {
    const source = new Address(segment.family, segment.source0, segment.source1, segment.source2, segment.source3);
    const destination = new Address(
      segment.family,
      segment.destination0,
      segment.destination1,
      segment.destination2,
      segment.destination3,
    );
    const from = `${source} ${segment.sourcePort}`;
    const to = `${destination} ${segment.destinationPort}`;
    let forward = true;
    let subflow = this.#flows.get(`${from} ${to}`);
    if (subflow === undefined) {
      subflow = this.#flows.get(`${to} ${from}`);
      forward = subflow === undefined;
    }
    const isFirst = (segment.flags & (Flag.Syn | Flag.Ack)) === Flag.Syn;
    const isSecond = (segment.flags & (Flag.Syn | Flag.Ack)) === (Flag.Syn | Flag.Ack);
    // A SYN of another number opens a new connection under old addresses.
    const known = subflow === undefined ? undefined : forward ? subflow.initiatorIsn : subflow.responderIsn;
    if (subflow !== undefined && isFirst && known !== undefined && known !== segment.sequence) {
      this.#flows.delete(forward ? `${from} ${to}` : `${to} ${from}`);
      subflow = undefined;
    }
    if (subflow === undefined) {
      // A SYN/ACK without its SYN comes from the responder.
      forward = !isSecond;
      subflow = forward
        ? this.#open(segment, source, segment.sourcePort, destination, segment.destinationPort)
        : this.#open(segment, destination, segment.destinationPort, source, segment.sourcePort);
      this.#remember(forward ? `${from} ${to}` : `${to} ${from}`, subflow);
    }
    this.#learnNumbers(segment, subflow, forward);
    this.#learnKeys(segment, subflow, forward);
    return { subflow, forward, origins: origins(subflow, forward) };
  }

  #open(
    segment: Segment,
    initiator: Address,
    initiatorPort: number,
    responder: Address,
    responderPort: number,
  ): TracedSubflow {
    const mptcp = segment.mptcp;
    const joined = (mptcp.present & Mptcp.JoinSyn) !== 0 ? this.#tokens.get(mptcp.joinToken) : undefined;
    const connection = joined?.connection ?? this.#newConnection((mptcp.present & MPTCP_SIGNS) !== 0);
    const subflow: TracedSubflow = {
      connection,
      id: connection.subflows.length,
      initiator,
      initiatorPort,
      responder,
      responderPort,
      // The token is the receiver's: whoever joins is the other side.
      fromClient: joined === undefined || !joined.isClient,
      initiatorIsn: undefined,
      responderIsn: undefined,
    };
    connection.subflows.push(subflow);
    return subflow;
  }

  #newConnection(isMultipath: boolean): TracedConnection {
    const connection: TracedConnection = {
      number: this.#nextNumber++,
      subflows: [],
      clientKey: undefined,
      serverKey: undefined,
      isMultipath,
    };
    this.connections.add(connection);
    return connection;
  }

  #remember(key: string, subflow: TracedSubflow): void {
    this.#flows.set(key, subflow);
    if (this.#flows.size <= MAX_FLOWS) return;
    const [oldestKey, oldest] = this.#flows.entries().next().value!;
    this.#flows.delete(oldestKey);
    if (oldest.connection.subflows.at(-1) === oldest) this.connections.delete(oldest.connection);
  }

  #learnNumbers(segment: Segment, subflow: TracedSubflow, forward: boolean): void {
    const isSyn = (segment.flags & Flag.Syn) !== 0;
    const first = isSyn ? segment.sequence : (segment.sequence - 1) >>> 0;
    if (forward) subflow.initiatorIsn ??= first;
    else subflow.responderIsn ??= first;
    if ((segment.flags & Flag.Ack) === 0) return;
    const other = (segment.acknowledgment - 1) >>> 0;
    if (forward) subflow.responderIsn ??= other;
    else subflow.initiatorIsn ??= other;
  }

  #learnKeys(segment: Segment, subflow: TracedSubflow, forward: boolean): void {
    const { mptcp } = segment;
    const connection = subflow.connection;
    if ((mptcp.present & (Mptcp.CapableSynAck | Mptcp.CapableAck)) === 0) return;
    if ((mptcp.present & Mptcp.CapableAck) !== 0) {
      this.#learnKey(connection, forward, mptcp.senderKeyHigh, mptcp.senderKeyLow);
      this.#learnKey(connection, !forward, mptcp.receiverKeyHigh, mptcp.receiverKeyLow);
    } else this.#learnKey(connection, forward, mptcp.senderKeyHigh, mptcp.senderKeyLow);
  }

  #learnKey(connection: TracedConnection, isClient: boolean, high: number, low: number): void {
    if ((isClient ? connection.clientKey : connection.serverKey) !== undefined) return;
    const key = tracedKey(high, low);
    if (isClient) connection.clientKey = key;
    else connection.serverKey = key;
    this.#tokens.set(key.token, { connection, isClient });
    if (this.#tokens.size > 2 * MAX_FLOWS) this.#tokens.delete(this.#tokens.keys().next().value!);
  }
}

/** A first segment with one of these belongs to Multipath TCP. */
const MPTCP_SIGNS =
  Mptcp.CapableSyn |
  Mptcp.CapableSynAck |
  Mptcp.CapableAck |
  Mptcp.JoinSyn |
  Mptcp.JoinSynAck |
  Mptcp.JoinAck |
  Mptcp.Dss;

/** Token and initial data sequence number of a key (RFC 8684 §3.1, §3.2). */
export function tracedKey(high: number, low: number): TracedKey {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, high);
  view.setUint32(4, low);
  const digest = new DataView(sha256(bytes).buffer);
  return { high, low, token: digest.getUint32(0), idsnHigh: digest.getUint32(24), idsnLow: digest.getUint32(28) };
}

function origins(subflow: TracedSubflow, forward: boolean): Origins {
  const fromClient = forward === subflow.fromClient;
  const { clientKey, serverKey } = subflow.connection;
  const own = fromClient ? clientKey : serverKey;
  const other = fromClient ? serverKey : clientKey;
  return {
    sequence: (forward ? subflow.initiatorIsn : subflow.responderIsn) ?? 0,
    acknowledgment: (forward ? subflow.responderIsn : subflow.initiatorIsn) ?? 0,
    dataSequenceHigh: own?.idsnHigh ?? 0,
    dataSequenceLow: own?.idsnLow ?? 0,
    dataAckHigh: other?.idsnHigh ?? 0,
    dataAckLow: other?.idsnLow ?? 0,
  };
}
