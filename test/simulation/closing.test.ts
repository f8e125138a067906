import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { Errno } from '../../src/sockets/errno.ts';
import { Shutdown } from '../../src/sockets/sockets.ts';
import { CloseReason } from '../../src/tcp/seams.ts';
import { State } from '../../src/tcp/state.ts';
import { Dss, Mptcp } from '../../src/wire/mptcp-options.ts';
import { Flag } from '../../src/wire/segment.ts';
import { connected, path } from './exchange.ts';
import { FilteredLink } from './filtered-link.ts';
import { inject } from './injection.ts';
import { observe, onSent } from './segments.ts';

test('A10.10, A10.01, A10.03 half close: the other direction goes on, subflows end when both are done', () => {
  const { world, client, server, near, far, target, clientSide, serverSide } = connected();
  let fins = 0;
  observe(world, (_fromA, segment) => {
    if ((segment.flags & Flag.Fin) !== 0) fins++;
  });
  client.sockets.shutdown(near, Shutdown.Write);
  world.run({ until: 2000 });
  equal(server.sockets.recv(far, target, 0, 10), 0, 'end of stream');
  deepEqual([clientSide.mptcp!.state, serverSide.mptcp!.state], [State.FinWait2, State.CloseWait]);
  equal(fins, 0, 'no subflow ends while one direction is open');
  equal(server.sockets.send(far, new Uint8Array(50_000).fill(7), 0, 50_000), 50_000);
  world.run({ until: 3000 });
  let got = 0;
  for (let count = 1; count > 0; got += Math.max(0, count)) count = client.sockets.recv(near, target, 0, 70_000);
  equal(got, 50_000);
  equal(client.sockets.send(near, Uint8Array.of(1), 0, 1), -Errno.EPIPE);
  server.sockets.shutdown(far, Shutdown.Write);
  world.run({ until: 4000 });
  equal(client.sockets.recv(near, target, 0, 10), 0);
  deepEqual([clientSide.closeReason, serverSide.closeReason], [CloseReason.Finished, CloseReason.Finished]);
  equal(fins, 4, 'one FIN each way on each subflow');
});

test('A10.01 both sides close at once: CLOSING, then TIME-WAIT, at both ends', () => {
  const { world, client, server, near, far, clientSide, serverSide } = connected();
  client.sockets.shutdown(near, Shutdown.Write);
  server.sockets.shutdown(far, Shutdown.Write);
  const seen = new Set<number>();
  world.run({
    until: 3000,
    condition: () => {
      seen.add(clientSide.mptcp!.state);
      return false;
    },
  });
  ok(seen.has(State.Closing));
  deepEqual([clientSide.closeReason, serverSide.closeReason], [CloseReason.Finished, CloseReason.Finished]);
});

test('A10.12, A9.13 DATA_FINs lost or their acknowledgments lost: sent again, acknowledged again', () => {
  let drops = 0;
  let fins = 0;
  const lossy = () =>
    new FilteredLink((segment) => {
      const isFin = (segment.mptcp.present & Mptcp.Dss) !== 0 && (segment.mptcp.dssFlags & Dss.Fin) !== 0;
      if (isFin) fins++;
      if (!isFin || drops >= 4) return false;
      drops++;
      return true;
    });
  const { world, client, server, near, far, target, clientSide, serverSide } = connected({
    paths: [path([], { aToB: { links: [lossy()] } }), path([], { delay: 20, aToB: { links: [lossy()] } })],
  });
  client.sockets.shutdown(near, Shutdown.Write);
  world.run({ until: 1150 });
  equal(server.sockets.recv(far, target, 0, 10), -Errno.EAGAIN);
  world.run({ until: 5000 });
  equal(drops, 4);
  ok(fins > 4);
  equal(server.sockets.recv(far, target, 0, 10), 0);
  deepEqual([clientSide.mptcp!.state, serverSide.mptcp!.state], [State.FinWait2, State.CloseWait]);
});

test('A10.12 acknowledgments of a DATA_FIN lost: it comes again and is acknowledged again', () => {
  let isOn = false;
  const deaf = () => new FilteredLink(() => isOn);
  const { world, client, server, near, clientSide } = connected({
    paths: [path([], { bToA: { links: [deaf()] } }), path([], { delay: 20, bToA: { links: [deaf()] } })],
  });
  isOn = true;
  client.sockets.shutdown(near, Shutdown.Write);
  world.run({ until: 1800 });
  equal(clientSide.mptcp!.state, State.FinWait1);
  isOn = false;
  world.run({ until: 6000 });
  ok(server.stack.counters.DataFinDuplicate >= 1);
  equal(clientSide.mptcp!.state, State.FinWait2);
});

test('A10.02, A10.11 a DATA_FIN that overtakes data is held until the data is there', () => {
  let finAt = -1;
  let dataAt = -1;
  const late = new FilteredLink((segment) => {
    const isFin = (segment.mptcp.present & Mptcp.Dss) !== 0 && (segment.mptcp.dssFlags & Dss.Fin) !== 0;
    // The first copy of the data is lost; its retransmission comes behind the DATA_FIN.
    if (!isOn || segment.length === 0 || isFin || wasLost) return false;
    wasLost = true;
    return true;
  });
  let isOn = false;
  let wasLost = false;
  const { world, client, server, near, far, target, serverSide } = connected(
    { paths: [path([], { aToB: { links: [late] } })] },
    1,
  );
  isOn = true;
  observe(world, (fromA, segment) => {
    if (!fromA || (segment.mptcp.present & Mptcp.Dss) === 0) return;
    if ((segment.mptcp.dssFlags & Dss.Fin) !== 0 && finAt < 0) finAt = world.now;
    if (segment.length > 0 && dataAt < 0) dataAt = world.now;
  });
  client.sockets.send(near, new Uint8Array(1000), 0, 1000);
  world.run({ until: world.now + 1 });
  client.sockets.shutdown(near, Shutdown.Write);
  world.run({ condition: () => finAt >= 0 });
  ok(wasLost && dataAt < 0);
  world.run({ until: finAt + 1 });
  equal(serverSide.mptcp!.state, State.Established);
  equal(server.sockets.recv(far, target, 0, 10), -Errno.EAGAIN);
  world.run({ until: finAt + 3000 });
  ok(dataAt > finAt);
  equal(server.sockets.recv(far, target, 0, 70_000), 1000);
  equal(server.sockets.recv(far, target, 0, 10), 0);
  equal(serverSide.mptcp!.state, State.CloseWait);
});

test('A10.05 a subflow’s FIN alone ends nothing but that subflow, which the other side ends too while there is another', () => {
  const { world, client, clientSide, serverSide, near, far, server, target } = connected();
  const joined = clientSide.mptcp!.subflows.find((subflow) => subflow.joined)!;
  clientSide.mptcp!.retireSubflow(world.now, joined.id);
  client.stack.touchAll();
  world.run({ until: 2000 });
  equal(joined.tcp!.state, State.TimeWait);
  deepEqual([clientSide.mptcp!.subflows.length, serverSide.mptcp!.subflows.length], [1, 1]);
  deepEqual([clientSide.closeReason, serverSide.closeReason], [-1, -1]);
  deepEqual([clientSide.mptcp!.state, serverSide.mptcp!.state], [State.Established, State.Established]);
  client.sockets.send(near, new Uint8Array(60_000), 0, 60_000);
  world.run({ until: 3000 });
  equal(server.sockets.recv(far, target, 0, 70_000), 60_000);
  equal(joined.bytesSent, 0);
});

test('A10.05 the FIN of the only subflow closes that direction of it alone: the other still carries data', () => {
  const { world, client, server, clientSide, serverSide, near, far, target } = connected({ paths: [path()] }, 1);
  const [only] = clientSide.mptcp!.subflows;
  clientSide.mptcp!.retireSubflow(world.now, only!.id);
  client.stack.touchAll();
  world.run({ until: world.now + 1000 });
  equal(only!.tcp!.state, State.FinWait2);
  equal(serverSide.mptcp!.subflows[0]!.tcp!.state, State.CloseWait);
  equal(server.sockets.send(far, new Uint8Array(5000), 0, 5000), 5000);
  world.run({ until: world.now + 1000 });
  equal(client.sockets.recv(near, target, 0, 70_000), 5000);
  deepEqual([clientSide.closeReason, serverSide.closeReason], [-1, -1]);
});

test('A10.06 break before make: without a subflow the connection waits, and a new join revives it', () => {
  const { world, client, server, near, far, target, clientSide, serverSide, clientAddress } = connected(
    { client: { endpoints: [] } },
    1,
  );
  const first = clientAddress(0);
  client.stack.removeAddress(world.now, 0, first);
  client.sockets.send(near, new Uint8Array(30_000).fill(9), 0, 30_000);
  world.run({ until: 20_000 });
  equal(clientSide.mptcp!.subflows.length, 0);
  deepEqual([clientSide.closeReason, serverSide.closeReason], [-1, -1]);
  client.endpoints.add(world.now, { address: clientAddress(1), subflow: true });
  client.stack.touchAll();
  world.run({ until: 40_000 });
  let got = 0;
  for (let count = 1; count > 0; got += Math.max(0, count)) count = server.sockets.recv(far, target, 0, 70_000);
  equal(got, 30_000);
  equal(clientSide.closeReason, -1);
});

test('A10.06 break before make: it ends after the close timeout', () => {
  const { world, client, near, clientSide, clientAddress } = connected(
    { client: { endpoints: [], mptcp: { closeTimeout: 5000 } } },
    1,
  );
  client.stack.removeAddress(world.now, 0, clientAddress(0));
  world.run({ until: 5900 });
  equal(clientSide.closeReason, -1);
  world.run({ until: 6200 });
  equal(clientSide.closeReason, CloseReason.TimedOut);
  equal(client.sockets.error(near), Errno.ETIMEDOUT);
  equal(client.stack.counters.CloseTimeout, 1);
});

test('A10.07 an orphan whose peer is gone ends after the close timeout', () => {
  const { world, client, near, clientSide, paths } = connected();
  for (const one of paths) one.setUp(world.now, false);
  client.sockets.send(near, new Uint8Array(1000), 0, 1000);
  client.sockets.close(near);
  const from = world.now;
  world.run({ until: from + 59_000 });
  equal(clientSide.closeReason, -1);
  world.run({ until: from + 61_000 });
  ok(clientSide.closeReason >= 0);
  equal(client.stack.counters.CloseTimeout, 1);
  equal(clientSide.mptcp!.subflows.length, 0);
});

test('A10.13, A7.10, A7.11, A7.14 close with unread input: MP_FASTCLOSE and RST on every subflow', () => {
  const { world, client, server, near, far, clientSide, serverSide } = connected();
  let resets = 0;
  let fins = 0;
  observe(world, (fromA, segment) => {
    if ((segment.flags & Flag.Rst) !== 0 && !fromA && (segment.mptcp.present & Mptcp.FastClose) !== 0) resets++;
    if ((segment.mptcp.present & Mptcp.Dss) !== 0 && (segment.mptcp.dssFlags & Dss.Fin) !== 0) fins++;
  });
  client.sockets.send(near, new Uint8Array(5000), 0, 5000);
  world.run({ until: 2000 });
  equal(serverSide.readable, 5000);
  server.sockets.close(far);
  world.run({ until: 3000 });
  deepEqual([resets, fins], [2, 0]);
  equal(server.stack.counters.MPFastcloseTx, 2);
  ok(client.stack.counters.MPFastcloseRx >= 1);
  equal(client.sockets.error(near), Errno.ECONNRESET);
  deepEqual([clientSide.closeReason, serverSide.closeReason], [CloseReason.PeerReset, CloseReason.Aborted]);
  deepEqual([clientSide.mptcp!.subflows.length, serverSide.mptcp!.subflows.length], [0, 0]);
});

test('A7.14 data for a reader who left: MP_FASTCLOSE', () => {
  const { world, client, server, near, far } = connected();
  server.sockets.close(far);
  world.run({ until: 1500 });
  equal(server.stack.counters.MPFastcloseTx, 0);
  client.sockets.send(near, new Uint8Array(5000), 0, 5000);
  world.run({ until: 3000 });
  ok(server.stack.counters.MPFastcloseTx >= 1);
  equal(client.sockets.error(near), Errno.ECONNRESET);
});

test('A7.13, A7.10 both abort at once', () => {
  const { world, client, server, near, far, clientSide, serverSide } = connected();
  client.sockets.abort(near);
  server.sockets.abort(far);
  world.run({ until: 5000 });
  deepEqual([clientSide.closeReason, serverSide.closeReason], [CloseReason.Aborted, CloseReason.Aborted]);
  deepEqual([clientSide.mptcp!.subflows.length, serverSide.mptcp!.subflows.length], [0, 0]);
  equal(client.stack.pollTimeout(), Number.POSITIVE_INFINITY);
  equal(server.stack.pollTimeout(), Number.POSITIVE_INFINITY);
});

for (const outstanding of [false, true]) {
  const what = outstanding
    ? 'while data is missing from another subflow: held until that came'
    : 'with nothing missing';
  test(`A10.04 a DATA_FIN together with a FIN on one subflow, ${what}`, () => {
    let isLost = false;
    const { world, client, server, near, far, target, clientSide, serverSide } = connected({
      paths: [path([], { aToB: { links: [new FilteredLink(() => isLost)] } }), path([], { delay: 20 })],
      // What is lost stays lost until its own path sends it again.
      client: { mptcp: { minimumRto: 60_000 } },
    });
    const peer = serverSide.mptcp!;
    const [first, second] = peer.subflows;
    isLost = outstanding;
    if (outstanding) client.sockets.send(near, new Uint8Array(1000).fill(5), 0, 1000);
    world.run({ until: world.now + 50 });
    // The client ends both its stream and its second subflow by one segment; RFC 8684 §3.3.3 lets it if it may.
    const { sendSpace, sendNxt } = clientSide.mptcp!;
    equal(sendNxt, peer.receiveNext + (outstanding ? 1000 : 0), 'where the stream ends');
    inject(world.now, server, second!, (segment) => {
      segment.flags |= Flag.Fin;
      const { mptcp } = segment;
      mptcp.present = Mptcp.Dss;
      mptcp.dssFlags = Dss.Map | Dss.Map64 | Dss.Fin;
      mptcp.dataSequenceHigh = sendSpace.toWireHigh(sendNxt);
      mptcp.dataSequenceLow = sendSpace.toWireLow(sendNxt);
      mptcp.subflowSequence = 0;
      mptcp.dataLength = 1;
      mptcp.hasChecksum = false;
    });
    world.run({ until: world.now + 10 });
    equal(second!.tcp!.state, outstanding ? State.LastAck : State.CloseWait, 'the FIN ended that subflow');
    equal(first!.tcp!.state, State.Established, 'and no other');
    equal(peer.state, outstanding ? State.Established : State.CloseWait, 'the DATA_FIN counts once all is there');
    isLost = false;
    world.run({ until: world.now + 3000 });
    equal(peer.state, State.CloseWait, 'in the end it counts');
    const length = outstanding ? 1000 : 0;
    if (outstanding) equal(server.sockets.recv(far, target, 0, 70_000), length, 'every byte came');
    equal(server.sockets.recv(far, target, 0, 10), 0, 'then the end');
    equal(server.sockets.send(far, new Uint8Array(9000), 0, 9000), 9000, 'the other direction goes on');
    world.run({ until: world.now + 1000 });
    equal(client.sockets.recv(near, target, 0, 70_000), 9000, 'to the last byte');
  });
}

test('A10.04 no subflow ends while another one has data of the stream to bring, DATA_FIN sent or not', () => {
  let isLost = false;
  let fins = 0;
  let dataFins = 0;
  const { world, client, server, near, far, clientSide, serverSide } = connected({
    // The fast path loses all data, the data-level timer is far away, and nobody passes by the stall.
    paths: [path([], { aToB: { links: [new FilteredLink(() => isLost)] } }), path([], { delay: 20 })],
    client: { mptcp: { minimumRto: 60_000, opportunisticRetransmission: false } },
  });
  server.sockets.shutdown(far, Shutdown.Write);
  world.run({ until: world.now + 500 });
  onSent(world, (fromA, segment) => {
    if (!fromA) return;
    const isDataFin = (segment.mptcp.present & Mptcp.Dss) !== 0 && (segment.mptcp.dssFlags & Dss.Fin) !== 0;
    if (isDataFin) dataFins++;
    if ((segment.flags & Flag.Fin) !== 0) {
      fins++;
      equal(isDataFin, false, 'they are not even combined');
      equal(clientSide.mptcp!.sendUna, clientSide.mptcp!.finOffset + 1, 'all was DATA_ACKed, the DATA_FIN included');
    }
  });
  isLost = true;
  client.sockets.send(near, new Uint8Array(12_000), 0, 12_000);
  client.sockets.shutdown(near, Shutdown.Write);
  world.run({ until: world.now + 150 });
  ok(dataFins > 0, 'the DATA_FIN went out');
  deepEqual([fins, serverSide.mptcp!.state], [0, State.FinWait2], 'data is missing: no FIN anywhere');
  isLost = false;
  world.run({ until: world.now + 5000 });
  deepEqual([clientSide.closeReason, serverSide.closeReason], [CloseReason.Finished, CloseReason.Finished]);
  ok(fins >= 2, 'then every subflow ends');
});
