import type { TestEvent } from 'node:test/reporters';

/** What one test came to, as `test.ts` reads it: one object per line. */
export interface TestRecord {
  readonly name: string;
  readonly outcome: 'passed' | 'failed' | 'skipped';
  /** Why it was skipped; empty when it was not, or nobody said. */
  readonly reason: string;
  readonly milliseconds: number;
}

/**
 * A reporter for node:test: one JSON line for each test. A suite is no test, except that one which is skipped stands
 * for the tests in it, which node:test never gets to see.
 */
export default async function* report(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of source) {
    if (event.type !== 'test:pass' && event.type !== 'test:fail') continue;
    const { name, details, skip, todo } = event.data;
    const put = skip ?? todo;
    const isSkipped = put !== undefined && put !== false;
    const isSuite = (details as { type?: string }).type === 'suite';
    if (isSuite && !isSkipped && event.type === 'test:pass') continue;
    const record: TestRecord = {
      name,
      outcome: isSkipped ? 'skipped' : event.type === 'test:pass' ? 'passed' : 'failed',
      reason: typeof put === 'string' ? put : '',
      milliseconds: details.duration_ms,
    };
    // A suite fails because a test in it did; that one was counted. Only a suite's own mistake counts by itself.
    if (isSuite && record.outcome === 'failed' && causeIsSubtests(details)) continue;
    yield `${JSON.stringify(record)}\n`;
  }
}

function causeIsSubtests(details: object): boolean {
  const { error } = details as { error?: { failureType?: string } };
  return error?.failureType === 'subtestsFailed';
}
