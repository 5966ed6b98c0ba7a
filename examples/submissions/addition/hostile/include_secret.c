/* Asks the compiler to print what the program may not read. */
#include "/etc/shadow"

int main(void) { return 0; }
