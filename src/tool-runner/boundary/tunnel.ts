import type { Socket } from "node:net";
import tls from "node:tls";
import { Refusal } from "./refusal.ts";

const TLS_HANDSHAKE = 0x16;

/** Only HTTP/1.1 is offered, in the form that a socket (as opposed to a server) takes. */
const HTTP_1_1 = Buffer.from("\x08http/1.1");

/** Looks at the first byte a client sends after CONNECT and puts it back. Throws a `Refusal` when none comes in time. */
export async function startsTls(socket: Socket, timeoutMs: number): Promise<boolean> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const timer = setTimeout(() => reject(handshakeFailed("nothing was sent")), timeoutMs);
  const onReadable = () => {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) return;
    // First: unshift announces readable bytes again, before the promise below could take the listener off.
    socket.off("readable", onReadable);
    socket.unshift(chunk);
    resolve(chunk[0] as number);
  };
  const onClose = () => reject(handshakeFailed("the connection was closed"));
  socket.on("readable", onReadable);
  socket.once("end", onClose);
  socket.once("close", onClose);
  try {
    return (await promise) === TLS_HANDSHAKE;
  } finally {
    clearTimeout(timer);
    socket.off("readable", onReadable);
    socket.off("end", onClose);
    socket.off("close", onClose);
  }
}

/** Ends the client's TLS with a certificate for exactly `host`. Throws a `Refusal` unless the client asked for that name too. */
export async function interceptTls(
  socket: Socket,
  host: string,
  secureContext: tls.SecureContext,
  timeoutMs: number,
): Promise<tls.TLSSocket> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const secure = new tls.TLSSocket(socket, {
    isServer: true,
    secureContext,
    requestCert: false,
    rejectUnauthorized: false,
    ALPNProtocols: HTTP_1_1,
  });
  const timer = setTimeout(() => reject(handshakeFailed("it took too long")), timeoutMs);
  secure.once("secure", resolve);
  // Stays: a late TLS error must find a listener.
  secure.on("error", () => reject(handshakeFailed("the client broke it off")));
  secure.once("close", () => reject(handshakeFailed("the client closed")));
  // The connection may be half open; half a handshake is none.
  secure.once("end", () => reject(handshakeFailed("the client ended it")));
  try {
    await promise;
    const name = (secure as { servername?: string | false | null }).servername;
    if (name !== host) {
      throw new Refusal(
        421,
        "refused_name_mismatch",
        "sni_mismatch",
        `Expected the TLS server name ${host}, as in CONNECT`,
      );
    }
    return secure;
  } catch (error) {
    secure.destroy();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

function handshakeFailed(why: string): Refusal {
  return new Refusal(
    400,
    "refused_rule",
    "handshake_failed",
    `No TLS handshake inside CONNECT: ${why}`,
  );
}
