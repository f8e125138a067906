import assert from 'node:assert/strict';
import type { MptcpConnection } from '../../src/mptcp/connection.ts';
import { Subflow } from '../../src/mptcp/subflow.ts';
import { TcpConnection } from '../../src/tcp/connection.ts';
import type { Bench, Side } from './stack-bench.ts';

/** Handshakes of the listener (8) and connections that wait at it (backlog 4, and 1), in both lives of a tuple. */
const LISTENER_ENDPOINTS = 16;
/** Subflows of one connection: the first, 8 that the path manager may add, 8 joins of the peer under way, 8 proven. */
const SUBFLOWS = 32;
/** What `Mappings` may hold, and as much again for what one last insertion may bring. */
const MAPPINGS = 8192 + 1;
/** The largest mapping. */
const MAPPING_LENGTH = 65_535;

/** What must never go back. */
interface Seen {
  nxt: number;
  edge: number;
  una: number;
}

/** Laws that hold for a host whatever it is sent. */
export class StackInvariants {
  private readonly seen = new WeakMap<object, Seen>();

  check(bench: Bench, side: Side): void {
    const { stack } = bench.hosts[side];
    assert.deepEqual(stack.defects, [], 'no invariant of the stack broke');
    assert.equal(stack.tcpCounters.TCPInvariant, 0);
    const endpoints = bench.endpoints(side);
    assert.ok(endpoints.length <= LISTENER_ENDPOINTS + SUBFLOWS, `${endpoints.length} endpoints`);
    for (const endpoint of endpoints) if (endpoint instanceof TcpConnection) this.checkTcp(endpoint);
    const mptcp = bench.connections[side]?.mptcp ?? null;
    if (mptcp !== null) this.checkMptcp(mptcp);
  }

  private checkTcp(tcp: TcpConnection): void {
    const { sender, receiver, extension } = tcp;
    const name = `${tcp.tuple}`;
    assert.ok(sender.una <= sender.nxt, `${name}: una ${sender.una} beyond nxt ${sender.nxt}`);
    const seen = this.seen.get(tcp);
    if (seen !== undefined) {
      assert.ok(receiver.nxt >= seen.nxt, `${name}: RCV.NXT went back`);
      assert.ok(receiver.edge >= seen.edge, `${name}: the window's edge went back`);
      assert.ok(sender.una >= seen.una, `${name}: SND.UNA went back`);
    }
    this.seen.set(tcp, { nxt: receiver.nxt, edge: receiver.edge, una: sender.una });
    const limit = Math.max(receiver.limit, receiver.edge);
    // A FIN may stand at the edge.
    assert.ok(receiver.nxt <= limit + 1, `${name}: RCV.NXT ${receiver.nxt} beyond the window ${limit}`);
    const { held } = receiver;
    assert.ok(held.count === 0 || held.start(0) > receiver.nxt, `${name}: what is in order is held as if it were not`);
    assert.ok(held.count === 0 || held.end(held.count - 1) <= limit + 1, `${name}: bytes held beyond the window`);
    // The scoreboard has no more runs than its rule for SACK blocks lets in.
    const outstanding = sender.nxt - sender.una;
    assert.ok(sender.board.count <= outstanding, `${name}: ${sender.board.count} runs of ${outstanding} octets`);
    const runs = 1200 + (5 * outstanding) / Math.max(1, sender.segmentSize);
    assert.ok(sender.board.count <= runs, `${name}: ${sender.board.count} runs in the scoreboard`);
    assert.ok(sender.inFlight >= 0 && sender.inFlight <= 2 * outstanding, `${name}: ${sender.inFlight} in flight`);
    assert.ok(sender.cwnd > 0 && Number.isFinite(sender.cwnd), `${name}: cwnd ${sender.cwnd}`);
    assert.ok(sender.rtt.rto > 0 && sender.rtt.rto <= 130_000, `${name}: RTO ${sender.rtt.rto}`);
    assert.ok(sender.segmentSize >= 1 && sender.segmentSize <= 65_535, `${name}: segments of ${sender.segmentSize}`);
    assert.ok(!Number.isNaN(tcp.deadline), `${name}: deadline`);
    if (extension instanceof Subflow) this.checkSubflow(extension, limit);
  }

  private checkSubflow(subflow: Subflow, limit: number): void {
    const received = subflow.received['mappings'];
    assert.ok(received.count <= MAPPINGS, `${received.count} mappings`);
    let end = 0;
    for (let index = 0; index < received.count; index++) {
      assert.ok(
        received.subflowStart(index) >= end && received.length(index) > 0,
        'mappings are disjoint and in order',
      );
      assert.ok(received.length(index) <= 2 * limit + MAPPING_LENGTH);
      end = received.subflowStart(index) + received.length(index);
    }
    let staged = 0;
    for (const staging of subflow.received['staging'].values()) staged += staging.bytes.length;
    assert.ok(staged <= limit + MAPPING_LENGTH, `${staged} bytes staged`);
  }

  private checkMptcp(mptcp: MptcpConnection): void {
    // The DATA_FIN has an offset, too; `sendNxt` counts bytes alone.
    assert.ok(mptcp.sendUna <= mptcp.sendNxt + 1, `data una ${mptcp.sendUna} beyond nxt ${mptcp.sendNxt}`);
    assert.ok(mptcp.sendNxt <= mptcp.sendQueue.end + 1, 'only what was written is sent');
    assert.ok(mptcp.sendQueue.length <= mptcp.sendQueue.limit + MAPPING_LENGTH, 'the send queue keeps its bound');
    const { ring } = mptcp;
    assert.ok(ring.readable <= ring.limit, `${ring.readable} bytes readable, ${ring.limit} allowed`);
    assert.ok(ring.capacity <= 2 * Math.max(ring.limit, ring.maximum), `${ring.capacity} bytes taken`);
    const seen = this.seen.get(mptcp);
    if (seen !== undefined) {
      assert.ok(mptcp.receiveNext >= seen.nxt, 'the next data offset went back');
      assert.ok(mptcp.sendUna >= seen.una, 'the data acknowledged went back');
    }
    this.seen.set(mptcp, { nxt: mptcp.receiveNext, edge: 0, una: mptcp.sendUna });
    const outOfOrder = mptcp.receiver['outOfOrder'];
    assert.ok(outOfOrder.total <= ring.limit, `${outOfOrder.total} bytes out of order`);
    assert.ok(
      outOfOrder.count === 0 || outOfOrder.start(0) > mptcp.receiveNext,
      `what is in order waits: ${outOfOrder.start(0)} ${outOfOrder.end(0)} next ${mptcp.receiveNext} ring ${mptcp.ring.read} ${mptcp.ring.next} ${mptcp.ring.limit}, finished ${mptcp.hasPeerFinished}, reason ${mptcp.closeReason} ${mptcp.fallbackReason}`,
    );
    assert.ok(mptcp.subflows.length <= SUBFLOWS, `${mptcp.subflows.length} subflows`);
    assert.ok(mptcp.past.length <= 8 && mptcp.peerAddresses.length <= 8 && mptcp.pendingJoins <= 16);
    assert.ok(!Number.isNaN(mptcp.deadline));
  }

  /** What must be left once everybody has gone: nothing. */
  checkOver(bench: Bench, side: Side): void {
    const { stack, endpoints } = bench.hosts[side];
    assert.deepEqual(stack.defects, []);
    const left = bench.endpoints(side).map((endpoint) => `${endpoint.tuple} in state ${endpoint.state}`);
    assert.deepEqual(left, [], `side ${side}: endpoints are left`);
    assert.equal(stack.tokenCount, 0, 'tokens are left');
    assert.equal(stack.tcpCounters.CurrEstab, 0, 'CurrEstab');
    assert.equal(stack.counters.MPCurrEstab, 0, 'MPCurrEstab');
    assert.equal(endpoints.connectionCount, 0, 'the path manager remembers a connection');
    const connection = bench.connections[side];
    if (connection === undefined) return;
    assert.ok(connection.closed, 'the connection never closed');
    if (connection.mptcp !== null) {
      assert.equal(connection.mptcp.sendQueue.reserved, 0, 'bytes to send are held');
      assert.equal(connection.mptcp.ring.capacity, 0, 'bytes received are held');
    }
    if (connection.stream !== null) {
      assert.equal(connection.stream.source.reserved, 0, 'bytes to send are held');
      assert.equal(connection.stream.sink.capacity, 0, 'bytes received are held');
    }
  }
}
