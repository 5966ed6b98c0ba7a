// expect: CE, row: C2
// The assembler reads a file at compile time, where the judge's own files might be.
__asm__(".incbin \"/etc/shadow\"");
int main(void) { return 0; }
