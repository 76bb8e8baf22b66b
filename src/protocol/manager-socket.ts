import { WebSocket } from "ws";
import type { ClientOptions } from "ws";
import { connectToOwn } from "../kit/own-connection.ts";
import type { RunSpec } from "./run-spec.ts";

/** Where the manager of a run is, and whether nobody but a program of this user may be there. */
export type ManagerAddress = RunSpec["manager"];

/** A WebSocket to a path of the manager, such as `/v1/runs/RUN/audit`, with a token of the run; it is not open yet. */
export function openManagerSocket(
  manager: ManagerAddress,
  path: string,
  token: string,
  options: { handshakeTimeout: number; maxPayload: number } & Pick<ClientOptions, "generateMask">,
): WebSocket {
  const url = new URL(path, manager.url);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  const whole: ClientOptions = {
    ...options,
    headers: { authorization: `Bearer ${token}` },
    perMessageDeflate: false,
    followRedirects: false,
  };
  // Its type has all forms of net.createConnection; it is called with the options of a request.
  if (manager.own === true)
    whole.createConnection = connectToOwn as NonNullable<ClientOptions["createConnection"]>;
  return new WebSocket(url, whole);
}
