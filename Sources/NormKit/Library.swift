// What the library tells about itself, and how many threads it may use.

import CNormKit
import NormKitFloor

@_cdecl("normkit_version") @implementation
public func normkit_version() -> Int32 { Int32(NORMKIT_VERSION) }

@_cdecl("normkit_version_string") @implementation
public func normkit_version_string() -> UnsafePointer<CChar>! {
  let text: StaticString = "0.1.0"
  return UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)
}

@_cdecl("normkit_isa") @implementation
public func normkit_isa() -> UnsafePointer<CChar>! { nk_chosen_isa().pointee.name }

@_cdecl("normkit_set_thread_count") @implementation
public func normkit_set_thread_count(_ count: Int32) -> Int32 {
  statusOf { () throws(Refusal) in
    try require(count >= 1 && count <= Int32(NORMKIT_MAX_THREADS), NORMKIT_ERROR_THREAD_COUNT)
    nk_set_thread_count(count)
  }
}

@_cdecl("normkit_thread_count") @implementation
public func normkit_thread_count() -> Int32 { nk_thread_count() }
