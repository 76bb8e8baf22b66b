/** Where zone A finds the program that hooks run, and the socket it speaks to. */
export const REPORT_PROGRAM = "/opt/agentkube/report";
export const REPORT_SOCKET = "/opt/agentkube/report.sock";
/** The node program of hooks and shims. */
export const NODE_IN_ZONE = "/opt/agentkube/node";

/** The command line of a hook; with `needle` the hook's transcript is followed for lines that contain it. */
export function reportCommand(name: string, needle: string | null = null): string {
  const follow = needle === null ? "" : ` --follow '${needle.replaceAll("'", String.raw`'\''`)}'`;
  return `${REPORT_PROGRAM} hook ${name}${follow}`;
}
