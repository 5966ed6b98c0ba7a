/* Includes itself twice: 2^200 times before the depth limit is met everywhere. */
#include __FILE__
#include __FILE__
int main(void) { return 0; }
