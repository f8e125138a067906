import { timeOrigin } from '../node/clock.ts';
import { UserspaceHost } from '../node/userspace-host.ts';
import { CaptureFile } from './capture-file.ts';
import { type OptionSpec, type Options, UsageError } from './options.ts';
import { hostPaths, PATH_OPTION, parseMtu } from './path-option.ts';

/** Options of every command that is a host of its own over TUN devices. */
export const HOST_OPTIONS = {
  path: PATH_OPTION,
  subflows: { value: 'N', text: 'subflows per connection beyond its first, 0 to 8 (default 8)' },
  'add-addr-accepted': { value: 'N', text: 'announced addresses of the peer to use, 0 to 8 (default 8)' },
  checksum: { text: 'ask for DSS checksums, which find middleboxes that change data' },
  mtu: { value: 'BYTES', text: 'of the devices (default 1500)' },
  'no-offload': { text: 'devices without segmentation offload: each packet on its own' },
  capture: { value: 'FILE', text: 'write every packet to a pcapng file, an interface for each path' },
} as const satisfies Record<string, OptionSpec>;

export type HostOptionName = keyof typeof HOST_OPTIONS;

/** A host with its paths and its capture. */
export class CommandHost {
  readonly host: UserspaceHost;
  private readonly captureFile: CaptureFile | undefined;

  constructor(host: UserspaceHost, captureFile: CaptureFile | undefined) {
    this.host = host;
    this.captureFile = captureFile;
  }

  /** Name of the path that has an address. */
  pathOf(address: string): string | undefined {
    const owner = this.host.stack.interfaces.all.find((entry) =>
      entry.addresses.some((own) => own.address.toString() === address),
    );
    return owner?.name;
  }

  /** Sends what waits, gives the devices back, and finishes the capture. @returns what is wrong with the capture */
  close(): string | undefined {
    this.host.close();
    const problem = this.captureFile?.close();
    return problem === undefined ? undefined : `${this.captureFile!.path}: ${problem}`;
  }
}

/** @throws UsageError, and what `UserspaceHost.open` throws */
export function openHost(options: Options<HostOptionName>, isClient: boolean): CommandHost {
  const mtuText = options.text('mtu');
  const mtu = mtuText === undefined ? undefined : parseMtu(mtuText, 4);
  if (mtuText !== undefined && mtu === undefined) {
    throw new UsageError(`--mtu takes 576 to 65535 bytes (IPv6: 1280 at least), not "${mtuText}"`);
  }
  const paths = hostPaths(options.all('path'), {
    isClient,
    offload: !options.has('no-offload'),
    ...(mtu === undefined ? {} : { mtu }),
  });
  if (paths.length === 0) throw new UsageError('at least one --path is needed');
  const subflows = options.integer('subflows', 8, 0, 8);
  const addAddrAccepted = options.integer('add-addr-accepted', 8, 0, 8);
  const file = options.text('capture');
  const captureFile = file === undefined ? undefined : new CaptureFile(file, timeOrigin());
  try {
    const host = UserspaceHost.open({
      paths,
      subflows,
      addAddrAccepted,
      checksums: options.has('checksum'),
      ...(captureFile === undefined ? {} : { capture: captureFile.capture }),
    });
    return new CommandHost(host, captureFile);
  } catch (error) {
    captureFile?.close();
    throw error;
  }
}
