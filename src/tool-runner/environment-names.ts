/** Names that make a loader, an interpreter or a well-known program run or load something else than what the manifest names. */
const LOADERS =
  /^(?:LD_|DYLD_|BASH_FUNC_|GLIBC_|MALLOC_|_JAVA_|PYTHON|PERL5|PERLLIB$|DOTNET_STARTUP_HOOKS$|AWKPATH$|AWKLIBPATH$|LESSOPEN$|GEM_PATH$|BUNDLE_GEMFILE$|ZDOTDIR$|RUBY|NODE_|NPM_CONFIG_|LUA_|GCONV_PATH$|BASH_ENV$|ENV$|IFS$|PS4$|SHELLOPTS$|BASHOPTS$|PROMPT_COMMAND$|CDPATH$|JAVA_TOOL_OPTIONS$|JDK_JAVA_OPTIONS$|CLASSPATH$|PHPRC$|PHP_INI_SCAN_DIR$|LOCPATH$|NLSPATH$|OPENSSL_CONF$|OPENSSL_ENGINES$|OPENSSL_MODULES$|HOSTALIASES$|RES_OPTIONS$|LOCALDOMAIN$|TERMINFO$|TERMINFO_DIRS$|TERMCAP$)/;
/** Harmless names among those prefixes. */
const HARMLESS = new Set([
  "NODE_ENV",
  "PYTHONUNBUFFERED",
  "PYTHONIOENCODING",
  "PYTHONUTF8",
  "PYTHONDONTWRITEBYTECODE",
]);
const GIT = /^GIT_(?!(?:AUTHOR|COMMITTER)_(?:NAME|EMAIL|DATE)$|TERMINAL_PROMPT$)/;
/** Set by us; a manifest that sets them too would only seem to have an effect, or weaken the boundary. */
const OURS = new Set([
  "PATH",
  "HOME",
  "HTTP_PROXY",
  "HTTPS_PROXY",
  "ALL_PROXY",
  "NO_PROXY",
  "http_proxy",
  "https_proxy",
  "all_proxy",
  "no_proxy",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  "CURL_CA_BUNDLE",
  "REQUESTS_CA_BUNDLE",
]);

/** Why a tool's environment may not hold this name; null when it may. */
export function refusedEnvironmentName(name: string): string | null {
  if (OURS.has(name)) return `${name} is set by the tool-runner`;
  if (HARMLESS.has(name)) return null;
  if (LOADERS.test(name) || GIT.test(name))
    return `${name} makes programs load or run other code than the manifest names`;
  return null;
}
