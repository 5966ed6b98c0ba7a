// expect: TLE, row: A5
int main() {
    for (volatile unsigned long count = 0;; count = count + 1)
        ;
}
