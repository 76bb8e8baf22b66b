import type { Log } from "../kit/log.ts";
import { ProducerSeat, refuse } from "./producer-seat.ts";
import { ProvenServer } from "./proven-server.ts";
import type { Recording } from "./recording.ts";

export interface FrameSocketOptions {
  path: string;
  token: string;
  recording: Recording;
  /** permissions of the socket, default 0600 */
  mode?: number;
  log: Log;
  /** The seat of a shell's own recording, opened for its first producer; null: none more is taken. */
  shell?: (grant: string) => Promise<ProducerSeat | null>;
}

/** The frame socket: one producer for each recording, that of the run and those of its shells. */
export class FrameSocket implements AsyncDisposable {
  readonly #options: FrameSocketOptions;
  readonly #seat: ProducerSeat;
  #server: ProvenServer | null = null;

  private constructor(options: FrameSocketOptions) {
    this.#options = options;
    this.#seat = new ProducerSeat(options.recording, options.log);
  }

  static async listen(options: FrameSocketOptions): Promise<FrameSocket> {
    const frames = new FrameSocket(options);
    const { path, token, mode = 0o600, log } = options;
    frames.#server = await ProvenServer.listen({
      path,
      mode,
      token,
      role: "agentlet",
      log,
      onProven: (socket, { grant_id: grant }) => {
        const seat = grant === undefined ? frames.#seat : frames.#options.shell?.(grant);
        Promise.resolve(seat ?? null)
          .then(async (taken) => {
            if (taken !== null) return await taken.serve(socket);
            refuse(socket, "spool_full", "Too many shells are recorded at once");
          })
          .catch((error: unknown) => {
            log.error({ err: error }, "producer connection failed");
            socket.destroy();
          });
      },
    });
    return frames;
  }

  /** Connections that were closed because they proved nothing. */
  get unproven(): number {
    return this.#server?.unproven ?? 0;
  }

  /** Producers of the run that were refused although they had proven themselves. */
  get refused(): number {
    return this.#seat.refused;
  }

  /** Whether the run's own producer is connected, or left behind what is not yet taken. */
  get hasProducer(): boolean {
    return this.#seat.isTaken;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]();
  }
}
