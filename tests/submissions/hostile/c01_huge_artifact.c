// expect: CE, row: C1
char first[1ul << 30] = {1};
char second[1ul << 30] = {2};
int main(void) { return first[7] + second[7]; }
