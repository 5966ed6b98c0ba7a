// expect: CE, row: C1
#define A(x) x + x + x + x + x + x + x + x
#define B(x) A(A(A(x)))
#define C(x) B(B(B(x)))
#define D(x) C(C(x))
int value = D(1);
int main(void) { return value; }
