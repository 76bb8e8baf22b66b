/** A kind of token that is known by its look, whoever it belongs to. */
export interface TokenShape {
  readonly name: string;
  /** how it begins; the beginning stays readable, so that a reader sees what was masked */
  readonly prefixes: readonly string[];
  /** the bytes that may follow: 1 for each byte that may */
  readonly body: Uint8Array;
  /** bytes of the body: fewer are no token; more are masked all the same, unless `exact` */
  readonly min: number;
  readonly max: number;
  readonly exact: boolean;
  /** true: the byte before the beginning must not be a letter, a digit, `_` or `-` */
  readonly standsAlone: boolean;
  /** bytes that may stand between beginning and body, such as ` = "` */
  readonly gap: Uint8Array;
  /** spans lines and ends at five dashes; only letters, digits and `+/=` are masked, so that the screen keeps its lines */
  readonly block: boolean;
  /** a last look at the whole body; null when its length is enough */
  readonly accepts: ((body: string) => boolean) | null;
}

/** Raised with every change of the shapes; a recording's proofs name it. */
export const TOKEN_SHAPES_VERSION = 1;

const DIGITS = "0123456789";
const UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const ALNUM = `${DIGITS}${UPPER}${UPPER.toLowerCase()}`;
const WORD = `${ALNUM}_-`;
const BASE64 = `${ALNUM}+/=`;

/** What is masked of a block. */
export const BLOCK_MASKS = setOf(BASE64);

/**
 * Beginnings that providers document, with the least length that they give out. Where the beginning alone is weak (`sk-`, `eyJ`,
 * `AKIA`), the body has to look like a token too: prose, paths and package names stay readable.
 */
export const TOKEN_SHAPES: readonly TokenShape[] = [
  shape("anthropic", ["sk-ant-"], WORD, { min: 16 }),
  shape("openai", ["sk-proj-", "sk-svcacct-", "sk-admin-"], WORD, { min: 20 }),
  shape("openai-legacy", ["sk-"], ALNUM, { min: 32, accepts: hasLettersAndDigits }),
  shape("openrouter", ["sk-or-v1-"], ALNUM, { min: 32 }),
  shape("github", ["ghp_", "gho_", "ghu_", "ghs_", "ghr_"], ALNUM, { min: 30 }),
  shape("github-fine-grained", ["github_pat_"], `${ALNUM}_`, { min: 40 }),
  shape(
    "gitlab",
    [
      "glpat-",
      "gldt-",
      "glrt-",
      "glcbt-",
      "glptt-",
      "glft-",
      "glsoat-",
      "gloas-",
      "glagent-",
      "glimt-",
      "glffct-",
    ],
    `${WORD}.`,
    { min: 18 },
  ),
  shape("aws-key-id", ["AKIA", "ASIA", "ABIA", "ACCA"], `${DIGITS}${UPPER}`, {
    min: 16,
    max: 16,
    exact: true,
  }),
  shape(
    "aws-secret",
    [
      "aws_secret_access_key",
      "AWS_SECRET_ACCESS_KEY",
      "aws_session_token",
      "AWS_SESSION_TOKEN",
      "SecretAccessKey",
      "secretAccessKey",
      "SessionToken",
      "sessionToken",
    ],
    BASE64,
    { min: 40, max: 4096, gap: ` \t=:"'\\`, standsAlone: false },
  ),
  shape("google-api-key", ["AIza"], WORD, { min: 33 }),
  shape("google-oauth", ["ya29.", "GOCSPX-"], `${WORD}.`, { min: 20 }),
  shape(
    "slack",
    [
      "xoxb-",
      "xoxp-",
      "xoxa-",
      "xoxr-",
      "xoxs-",
      "xoxo-",
      "xoxe-",
      "xoxe.",
      "xoxc-",
      "xoxd-",
      "xapp-",
    ],
    `${WORD}.%`,
    { min: 20 },
  ),
  shape("slack-webhook", ["hooks.slack.com/services/", "hooks.slack.com/workflows/"], `${ALNUM}/`, {
    min: 30,
  }),
  shape("stripe", ["sk_live_", "sk_test_", "rk_live_", "rk_test_", "whsec_"], ALNUM, { min: 16 }),
  shape("npm", ["npm_"], ALNUM, { min: 30 }),
  shape("pypi", ["pypi-"], WORD, { min: 50 }),
  shape("docker", ["dckr_pat_", "dckr_oat_"], WORD, { min: 20 }),
  shape("hugging-face", ["hf_"], ALNUM, { min: 30 }),
  shape("groq", ["gsk_"], ALNUM, { min: 32 }),
  shape("xai", ["xai-"], ALNUM, { min: 40 }),
  shape("perplexity", ["pplx-"], ALNUM, { min: 32 }),
  shape("replicate", ["r8_"], ALNUM, { min: 32 }),
  shape("cursor", ["crsr_", "key_"], "0123456789abcdef", { min: 64 }),
  shape("digitalocean", ["dop_v1_", "doo_v1_", "dor_v1_"], "0123456789abcdef", { min: 40 }),
  shape("sendgrid", ["SG."], `${WORD}.`, { min: 50 }),
  shape("shopify", ["shpat_", "shpca_", "shppa_", "shpss_"], "0123456789abcdefABCDEF", { min: 32 }),
  shape("vault", ["hvs.", "hvb.", "hvr."], WORD, { min: 24 }),
  shape("databricks", ["dapi"], "0123456789abcdef", { min: 32 }),
  shape("tailscale", ["tskey-"], WORD, { min: 20 }),
  shape("linear", ["lin_api_", "lin_oauth_"], ALNUM, { min: 30 }),
  shape("notion", ["ntn_"], ALNUM, { min: 40 }),
  shape("atlassian", ["ATATT3"], `${WORD}=`, { min: 40 }),
  shape("supabase", ["sbp_"], "0123456789abcdef", { min: 40 }),
  shape("age", ["AGE-SECRET-KEY-1"], `${DIGITS}${UPPER}`, { min: 50 }),
  shape("jwt", ["eyJ"], `${WORD}.=`, { min: 40, max: 8192, accepts: isJsonWebToken }),
  shape(
    "bearer",
    ["Authorization: Bearer ", "authorization: Bearer ", "authorization: bearer "],
    `${WORD}.~+/=`,
    { min: 20, max: 8192, standsAlone: false, accepts: hasLettersAndDigits },
  ),
  shape(
    "private-key",
    ["", "RSA ", "EC ", "DSA ", "OPENSSH ", "ENCRYPTED "]
      .map((kind) => `-----BEGIN ${kind}PRIVATE KEY-----`)
      .concat("-----BEGIN PGP PRIVATE KEY BLOCK-----"),
    `${BASE64} \t\r\n\\:,.()-`,
    { min: 64, max: 16 * 1024, standsAlone: false, block: true },
  ),
];

type Rest = Partial<Pick<TokenShape, "max" | "exact" | "standsAlone" | "block" | "accepts">> & {
  min: number;
  gap?: string;
};

function shape(name: string, prefixes: readonly string[], body: string, rest: Rest): TokenShape {
  const { min, max = 512, exact = false, standsAlone = true, block = false, accepts = null } = rest;
  const gap = setOf(rest.gap ?? "");
  return { name, prefixes, body: setOf(body), min, max, exact, standsAlone, gap, block, accepts };
}

function setOf(characters: string): Uint8Array {
  const set = new Uint8Array(256);
  for (const byte of Buffer.from(characters)) set[byte] = 1;
  return set;
}

function hasLettersAndDigits(body: string): boolean {
  return /[0-9]/.test(body) && /[A-Za-z]/.test(body);
}

/** `eyJ` was read already: header, payload and signature, of which an unsigned token has none. */
function isJsonWebToken(body: string): boolean {
  return /^[\w-]{5,}\.[\w-]{8,}\.[\w-]*=*\.?$/.test(body);
}
