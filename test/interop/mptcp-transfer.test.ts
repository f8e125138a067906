import { interop, ROLES } from './harness/scenario.ts';

for (const role of ROLES) {
  for (const family of [4, 6] as const) {
    interop(
      `A2.02 A2.04 A2.25 ${role.title}, IPv${family}: 1 byte, then 1 MB each way`,
      { families: [family] },
      async (s) => {
        const { client, server } = await s.connect(...role.of(s));
        await s.transfer(client, server, 1);
        await s.transfer(server, client, 1_000_000);
        await s.close(client, server);
      },
    );
  }
}
