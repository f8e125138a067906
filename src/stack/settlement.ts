import type { TokenTable } from '../mptcp/tokens.ts';
import type { Endpoint } from '../tcp/endpoint.ts';
import type { ActiveOpens } from './active-opens.ts';
import type { Connection } from './connection.ts';
import type { Endpoints } from './endpoints.ts';
import type { ReadyQueue } from './ready-queue.ts';

/**
 * Brings multipath connections up to date with what happened to them and to their subflows: once per burst, not once per
 * segment. Starts the joins they ask for, files their subflows' deadlines and output, tells their users.
 */
export class Settlement {
  private readonly endpoints: Endpoints;
  private readonly opens: ActiveOpens;
  private readonly tokens: TokenTable<Connection>;
  private readonly ready: ReadyQueue;

  constructor(endpoints: Endpoints, opens: ActiveOpens, tokens: TokenTable<Connection>, ready: ReadyQueue) {
    this.endpoints = endpoints;
    this.opens = opens;
    this.tokens = tokens;
    this.ready = ready;
  }

  /** Settles all that are marked, those that are marked meanwhile included. */
  settle(now: number): void {
    const { endpoints } = this;
    for (let dirty = endpoints.takeDirty(); dirty !== null; dirty = endpoints.takeDirty()) this.update(now, dirty);
  }

  private update(now: number, connection: Connection): void {
    const { endpoints } = this;
    const mptcp = connection.mptcp!;
    if (mptcp.wantsUpdate) mptcp.update(now);
    for (let join = mptcp.takeJoin(); join !== undefined; join = mptcp.takeJoin()) {
      this.opens.join(now, connection, join);
    }
    const { subflows } = mptcp;
    for (let index = 0; index < subflows.length; index++) {
      const endpoint = subflows[index]!.endpoint as Endpoint | null;
      if (endpoint === null) continue;
      endpoints.deadlines.update(endpoint);
      if (!endpoint.queued && endpoint.wantsTransmit) endpoints.transmit.add(endpoint);
    }
    const ended = mptcp.takeEnded();
    if (ended.length > 0) {
      for (let index = 0; index < ended.length; index++) {
        const endpoint = ended[index]!.endpoint as Endpoint | null;
        if (endpoint === null) continue;
        if (endpoint.isFinished) endpoints.forget(endpoint);
        else if (endpoint.wantsTransmit) endpoints.transmit.add(endpoint);
      }
      ended.length = 0;
    }
    if (mptcp.wantsUpdate) endpoints.markDirty(connection);
    endpoints.deadlines.update(mptcp);
    connection.takeMptcpEvents();
    if (connection.hasReady) this.ready.add(connection);
    if (mptcp.isFinished) {
      this.tokens.release(mptcp.token);
      endpoints.deadlines.remove(mptcp);
    }
  }
}
