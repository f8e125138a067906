import { Address } from '../wire/address.ts';
import type { MptcpOptions } from '../wire/mptcp-options.ts';
import type { MptcpConnection } from './connection.ts';
import { addAddressHmac, word } from './keys.ts';
import { Phase } from './phase.ts';
import type { PeerAddress } from './seams.ts';
import type { Subflow } from './subflow.ts';

/** Addresses that a peer may announce and have kept. */
const PEER_ADDRESSES = 8;

/**
 * What a connection heard about the peer's addresses (RFC 8684 §3.4): those that were announced and not withdrawn, no
 * more than `PEER_ADDRESSES`. What it says about its own is `Announcements`'.
 */
export class PeerAddresses {
  private readonly connection: MptcpConnection;
  readonly list: PeerAddress[] = [];

  constructor(connection: MptcpConnection) {
    this.connection = connection;
  }

  onAddAddress(now: number, subflow: Subflow, options: MptcpOptions): void {
    const { connection } = this;
    const { announcements, counters } = connection;
    const address = announcedAddress(options);
    if (options.addEcho) {
      counters.EchoAdd++;
      announcements.onEcho(now, options.addId, address);
      return;
    }
    counters.AddAddr++;
    if (options.addPort !== 0) counters.PortAdd++;
    const { localKey, peerKey } = connection;
    const expected = addAddressHmac(peerKey!, localKey, options.addId, address, options.addPort);
    if (!announcedHmacIs(options, expected)) {
      counters.AddAddrDrop++;
      return;
    }
    announcements.echo(options.addId, address, options.addPort);
    subflow.demandSignal(now);
    this.learn(now, options.addId, address, options.addPort);
  }

  private learn(now: number, id: number, address: Address, port: number): void {
    const { connection, list } = this;
    const index = list.findIndex((entry) => entry.id === id);
    const known = index >= 0 ? list[index]! : undefined;
    // RFC 8684 §3.4.1: an id keeps its address; only a new port is news (A6.08). Id 0 is the initial address (A6.07).
    if (known !== undefined && (!known.address.equals(address) || known.port === port)) return;
    if (id === 0 && !address.equals(connection.initialPeer)) return;
    if (address.isUnspecified || address.isMulticast) return;
    const entry: PeerAddress = { id, address, port };
    if (index >= 0) list[index] = entry;
    else if (list.length < PEER_ADDRESSES) list.push(entry);
    else {
      connection.counters.AddAddrDrop++;
      return;
    }
    connection.host.pathManager.onAnnounced(now, connection, entry);
  }

  onRemoveAddress(now: number, options: MptcpOptions): void {
    const { connection, list } = this;
    for (let at = 0; at < options.removeCount; at++) {
      const id = options.removeIds[at]!;
      connection.counters.RmAddr++;
      const index = list.findIndex((entry) => entry.id === id);
      if (index >= 0) list.splice(index, 1);
      let used = false;
      for (const subflow of [...connection.subflows]) {
        if (subflow.peerId !== id || subflow.closed || subflow.phase === Phase.Connecting) continue;
        used = true;
        connection.retire(now, subflow);
      }
      if (index >= 0 || used) connection.host.pathManager.onWithdrawn(now, connection, id);
      else connection.counters.RmAddrDrop++;
    }
  }
}

/** The address in a received ADD_ADDR. */
function announcedAddress(options: MptcpOptions): Address {
  return new Address(options.addFamily, options.add0, options.add1, options.add2, options.add3);
}

/** The rightmost half of the HMAC in a received ADD_ADDR equals `expected` (8 bytes). */
function announcedHmacIs(options: MptcpOptions, expected: Uint8Array): boolean {
  return ((options.addHmacHigh ^ word(expected, 0)) | (options.addHmacLow ^ word(expected, 4))) === 0;
}
