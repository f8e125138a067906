import { lookup } from 'node:dns/promises';
import { Address } from '../wire/address.ts';
import { CommandError } from './failure.ts';

/** Addresses of a host, in the order to try them; as they are when `host` is an address already. */
export async function resolveHost(host: string, family: 4 | 6 | undefined): Promise<Address[]> {
  const literal = Address.parse(host);
  if (literal !== undefined) {
    if (family !== undefined && literal.family !== family) throw new CommandError(`${host} is no IPv${family} address`);
    return [literal];
  }
  let found: { address: string }[];
  try {
    found = await lookup(host, { all: true, family: family ?? 0 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new CommandError(
      code === 'ENOTFOUND' ? `${host}: unknown host` : `${host}: the name cannot be looked up (${code})`,
    );
  }
  return found.flatMap(({ address }) => Address.parse(address) ?? []);
}
