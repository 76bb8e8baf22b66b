/** What the header of an ELF program says of the machine that it is for. */
export interface ElfMachine {
  /** as people say it */
  readonly name: string;
  /** whether it is of this machine: its processor, word size and byte order */
  readonly isOurs: boolean;
}

/** This machine, in the same words. */
export const OUR_MACHINE = process.arch === "x64" ? "x86-64" : process.arch;

/** As far as the machine's number goes. */
const HEADER_BYTES = 20;
const MAGIC = 0x7f454c46;
const WORDS_OF_64_BITS = 2;
const LITTLE_ENDIAN = 1;
/** Numbers of `e_machine`. */
const NAMES: Readonly<Record<number, string>> = {
  3: "x86 (32 bits)",
  8: "mips",
  21: "ppc64",
  22: "s390x",
  40: "arm (32 bits)",
  62: "x86-64",
  183: "arm64",
  243: "riscv64",
  258: "loongarch64",
};

/** Reads the first bytes of a program; null: they are not the header of an ELF program. */
export function elfMachineOf(head: Buffer): ElfMachine | null {
  if (head.length < HEADER_BYTES || head.readUInt32BE(0) !== MAGIC) return null;
  const isLittle = head[5] === LITTLE_ENDIAN;
  const machine = isLittle ? head.readUInt16LE(18) : head.readUInt16BE(18);
  const name = NAMES[machine] ?? `machine ${machine}`;
  // We run on little-endian machines of 64 bits only.
  return { name, isOurs: isLittle && head[4] === WORDS_OF_64_BITS && name === OUR_MACHINE };
}
