// expect: CE, row: C1
// Waits for a main that the compiler's standard input does not bring.
#include "/dev/stdin"
