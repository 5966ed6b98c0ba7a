// expect: CE, row: C1
#include "/proc/self/environ"
#include "/etc/shadow"
int main(void) { return 0; }
