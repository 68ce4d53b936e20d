// swift-tools-version: 6.2
import PackageDescription

// The product is built in Embedded Swift, so that it needs libc alone; debug builds are ordinary Swift, so that the
// same sources can be tested with Swift Testing and the sanitizers.
let embedded: [SwiftSetting] = [
  .enableExperimentalFeature("Embedded", .when(configuration: .release)),
  .unsafeFlags(["-wmo"], .when(configuration: .release)),
]

// Exported functions are checked against the C header by the compiler.
let boundary: [SwiftSetting] = embedded + [.enableExperimentalFeature("CImplementation")]

// Kernels check nothing: sizes and pointers were checked at the boundary. They are always optimized, because only
// then do their vectors become registers. Loops have sixteen lanes in a step, and what has to be taken together is
// written so: unrolled further, they are larger, and not faster; so are the short loops beside them as vectors. Guards
// of the stack would check small arrays of fixed size, of which kernels have many. Functions that are seldom called, or
// in which little time is spent because what they call has the loops, are marked to be optimized for size.
func kernels(_ name: String, flags: [String], optimization: [String] = ["-Ounchecked"]) -> Target {
  .target(
    name: "Kernels\(name)",
    dependencies: ["NormKitFloor"],
    swiftSettings: embedded + [
      .unsafeFlags(
        optimization + ["-enforce-exclusivity=unchecked", "-Xfrontend", "-disable-stack-protector"]
          + ["unroll-runtime", "unroll-allow-partial", "vectorize-loops"].flatMap { ["-Xllvm", "-\($0)=false"] }
          + (flags + ["-Wno-psabi"]).flatMap { ["-Xcc", $0] })
    ])
}

// One module for each instruction set, all from the text in Sources/Kernels: Swift takes its code generation target
// from clang's, and has it for a whole module. Processors without AVX2 are old or small: their kernels are optimized
// for size, which costs some speed and saves a tenth of the module.
#if arch(x86_64)
let kernelTargets = [
  kernels(
    "X86V2", flags: ["-march=x86-64-v2"], optimization: ["-Osize", "-Xfrontend", "-remove-runtime-asserts"]),
  kernels("X86V3", flags: ["-march=x86-64-v3"]),
  kernels("X86V4", flags: ["-march=x86-64-v4", "-mprefer-vector-width=512"]),
]
#else
let kernelTargets = [kernels("Arm64", flags: [])]
#endif

let package = Package(
  name: "normkit",
  products: [.library(name: "normkit", type: .dynamic, targets: ["NormKit"])],
  targets: kernelTargets + [
    .systemLibrary(name: "CNormKit", path: "include"),
    .target(name: "NormKitFloor", cSettings: [.unsafeFlags(["-Wall", "-Wextra", "-fvisibility=hidden"])]),
    .target(
      name: "NormKit",
      dependencies: ["CNormKit", "NormKitFloor"] + kernelTargets.map { .target(name: $0.name) },
      swiftSettings: boundary,
      linkerSettings: [
        // Only what the header declares is exported; threads may be asleep in the library, so that it stays loaded.
        .unsafeFlags(
          [
            "-Xlinker", "-soname=libnormkit.so.0", "-Xlinker", "-z", "-Xlinker", "nodelete",
            "-Xlinker", "-z", "-Xlinker", "defs", "-Xlinker", "--strip-all",
            "-Xlinker", "--version-script=\(Context.packageDirectory)/include/normkit.map",
          ], .when(configuration: .release))
      ]),
    .testTarget(name: "NormKitTests", dependencies: ["NormKit", "NormKitFloor", "CNormKit"]),
  ])
