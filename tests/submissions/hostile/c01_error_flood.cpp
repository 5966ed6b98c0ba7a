// expect: CE, row: C1
// Every line of the compiler's complaints is longer than the last one.
template <typename T> struct Long {
    using next = typename Long<Long<T *>>::next;
};
Long<int>::next value;
int main() {}
