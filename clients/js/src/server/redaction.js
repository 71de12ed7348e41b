// Redaction of secrets: the rules of cordboard/contract/redaction.py; a test compares the two.

export const REDACTED = "[redacted]";

const SECRET_WORDS = new Set([
  "password", "passwd", "passphrase", "pwd", "token", "secret", "secrets", "authorization", "cookie", "cookies",
  "credential", "credentials", "apikey", "jwt", "bearer", "accesskey", "privatekey", "secretkey", "signature",
]);
const SECRET_PAIRS = new Set(["api key", "access key", "private key", "secret key", "auth key"]);
// `token_count` and `secret_type` describe a secret, but do not contain it.
const DESCRIPTIVE_WORDS = new Set(["count", "usage", "limit", "budget", "type", "length", "ttl", "expiry"]);
const WORD = /[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+/g;
const SECRET_IN_NAME = /password|passwd|passphrase|pwd|token|secret|authorization|cookie|credential|api[_-]?key|access[_-]?key|signature|jwt/i;
// The name is matched first, and the value separately: a single pattern for both takes quadratic time.
const NAME_EQUALS = /(?:^|[?&;#\s(,{'"])([\p{L}\p{N}_.%-]+)=/gu;
const NAME_COLON = /(?<=["'])([\p{L}\p{N}_.%-]+)["']:\s?/gu;
const VALUE = /'[^']*'?|"[^"]*"?|[^&#;\s"'<>,)]+/y;
const TOKEN_SHORT = /([?&](?:t|sig|auth|key)=)(?!\[redacted\])[^&#\s"'<>]+/gi;
const USERINFO = /(:\/\/[^/\s:@?#]{0,256}:)(?![0-9]{1,5}[/?#])[^\s@"'<>]{1,256}@/g;
const BEARER = /(?<![\p{L}\p{N}_])(Bearer)(\s+)[A-Za-z0-9._~+/=-]{8,}/giu;
const NAMES_KEPT = 4096;
const DEPTH = 32; // a line of a stranger may be nested deeper than the stack

/** @type {Map<string, boolean>} */
const known = new Map();

/**
 * Return whether a name looks like that of a secret, in any usual spelling.
 * @param {string} name
 */
export function isSecretName(name) {
  let isSecret = known.get(name);
  if (isSecret === undefined) {
    if (known.size >= NAMES_KEPT) known.clear();
    isSecret = holdsSecretWord(wordsOf(name));
    known.set(name, isSecret);
  }
  return isSecret;
}

/** @param {string} name */
function wordsOf(name) {
  return (name.slice(0, 256).match(WORD) ?? []).map((word) => word.toLowerCase());
}

/** @param {string[]} words */
function holdsSecretWord(words) {
  if (DESCRIPTIVE_WORDS.has(words.at(-1) ?? "")) return false;
  return words.some((word, i) => SECRET_WORDS.has(word) || SECRET_PAIRS.has(`${word} ${words[i + 1]}`));
}

/**
 * Return a text without the secrets in its URLs, headers and `name=value` pairs.
 * @param {string} text
 */
export function redact(text) {
  let result = text;
  if (result.includes("=")) {
    result = withoutSecrets(result, NAME_EQUALS);
    if (result.includes("?")) result = result.replace(TOKEN_SHORT, `$1${REDACTED}`);
  }
  if (result.includes("':") || result.includes('":')) result = withoutSecrets(result, NAME_COLON);
  if (result.includes("://") && result.includes("@")) result = result.replace(USERINFO, `$1${REDACTED}@`);
  if (result.includes("earer ")) result = result.replace(BEARER, `$1$2${REDACTED}`);
  return result;
}

/**
 * @param {string} text
 * @param {RegExp} names
 */
function withoutSecrets(text, names) {
  let result = "";
  let done = 0;
  for (const match of text.matchAll(names)) {
    const end = match.index + match[0].length;
    if (end <= done || text.startsWith(REDACTED, end) || !isSecretInText(match[1])) continue;
    VALUE.lastIndex = end;
    const value = VALUE.exec(text);
    if (!value) continue;
    result += text.slice(done, end) + REDACTED;
    done = VALUE.lastIndex;
  }
  return result + text.slice(done);
}

/** @param {string} name */
function isSecretInText(name) {
  if (!SECRET_IN_NAME.test(name)) return false;
  const last = wordsOf(name).at(-1);
  return last === undefined || (!DESCRIPTIVE_WORDS.has(last) && last !== "tokens");
}

/**
 * Return a value of JSON without its secrets, at any depth; what is nested too deep becomes a text.
 * @param {any} value
 * @param {number} depth
 * @returns {any}
 */
export function redactValue(value, depth = 0) {
  if (typeof value === "string") return redact(value);
  if (typeof value !== "object" || value === null) return value;
  if (depth >= DEPTH) return "[nested deeper]";
  if (Array.isArray(value)) return value.map((member) => redactValue(member, depth + 1));
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => {
      const isHidden = isSecretName(name) && member !== null && member !== undefined;
      return [name, isHidden ? REDACTED : redactValue(member, depth + 1)];
    }),
  );
}
