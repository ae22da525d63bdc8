// A shared library that has nothing to do with reprefill.
extern "C" int answer() { return 42; }
