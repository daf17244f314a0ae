/**
 * The client's side of SCRAM (RFC 5802), as three messages. The server must prove in the last one that it knows the password too; a proof
 * that doesn't fit is a fault, for then somebody else answers.
 */
import { createHash, createHmac, pbkdf2, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';

const pbkdf2Of = promisify(pbkdf2);
/** Kafka's own least; more than the most would only burn our time for a broker that lies. */
const ITERATIONS_MIN = 4096,
  ITERATIONS_MAX = 1_000_000;
const HASH_BYTES = { sha256: 32, sha512: 64 };

export class ScramFault extends Error {
  override readonly name = 'ScramFault';
}

export class Scram {
  readonly #hash: 'sha256' | 'sha512';
  readonly #nonce: string;
  readonly #bare: string;
  #serverSignature = Buffer.alloc(0);

  constructor(hash: 'sha256' | 'sha512', user: string, nonce: string) {
    this.#hash = hash;
    this.#nonce = nonce;
    this.#bare = `n=${user.replaceAll('=', '=3D').replaceAll(',', '=2C')},r=${nonce}`;
  }

  first(): Buffer {
    return Buffer.from(`n,,${this.#bare}`);
  }

  async final(serverFirst: Buffer, password: string): Promise<Buffer> {
    const text = serverFirst.toString('utf8'),
      fields = fieldsOf(text),
      nonce = fields.get('r') ?? '',
      salt = Buffer.from(fields.get('s') ?? '', 'base64'),
      iterations = Number(fields.get('i'));
    if (!nonce.startsWith(this.#nonce) || nonce.length === this.#nonce.length) throw new ScramFault('the broker did not take up our nonce');
    if (salt.length === 0 || !(iterations >= ITERATIONS_MIN && iterations <= ITERATIONS_MAX))
      throw new ScramFault(
        `the broker asks for ${fields.get('i') ?? 'no'} iterations, between ${ITERATIONS_MIN} and ${ITERATIONS_MAX} are done`,
      );
    const salted = await pbkdf2Of(password, salt, iterations, HASH_BYTES[this.#hash], this.#hash),
      clientKey = this.#hmac(salted, 'Client Key'),
      storedKey = createHash(this.#hash).update(clientKey).digest(),
      withoutProof = `c=biws,r=${nonce}`,
      message = `${this.#bare},${text},${withoutProof}`,
      proof = this.#hmac(storedKey, message);
    for (let i = 0; i < proof.length; i++) proof[i]! ^= clientKey[i]!;
    this.#serverSignature = this.#hmac(this.#hmac(salted, 'Server Key'), message);
    return Buffer.from(`${withoutProof},p=${proof.toString('base64')}`);
  }

  check(serverFinal: Buffer): void {
    const signature = Buffer.from(fieldsOf(serverFinal.toString('utf8')).get('v') ?? '', 'base64');
    if (signature.length !== this.#serverSignature.length || !timingSafeEqual(signature, this.#serverSignature))
      throw new ScramFault('the broker could not prove that it knows the password');
  }

  #hmac(key: Buffer, message: string): Buffer<ArrayBuffer> {
    return createHmac(this.#hash, key).update(message).digest();
  }
}

function fieldsOf(text: string): Map<string, string> {
  return new Map(text.split(',').map((field) => [field.slice(0, 1), field.slice(2)]));
}
