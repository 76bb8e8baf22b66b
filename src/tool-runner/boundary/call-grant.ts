import type { RedactionTable } from "../../kit/redactor.ts";
import type { CallId } from "../../protocol/ids.ts";
import type { NetworkRule } from "../../protocol/tool-manifest.ts";
import type { GrantedCredential } from "./credential-rule.ts";

/** What one call may reach and with which credentials. Made at admission, never changed, dead with the call. */
export interface CallGrant {
  call: CallId;
  tool: string;
  network: NetworkRule[];
  credentials: GrantedCredential[];
  /** masks every secret of the run in what the call gets; without it, those of the call */
  redaction?: () => RedactionTable | null;
}
