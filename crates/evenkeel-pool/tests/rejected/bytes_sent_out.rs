//! Nor are they sent to where the buffer may be gone.
//~ error[E0597]: `buffer` does not live long enough
use evenkeel_pool::Buffer;

fn send(buffer: Buffer) {
    let bytes: &[u8] = &buffer;
    std::thread::spawn(move || bytes[0]);
}

fn main() {
    let _: fn(Buffer) = send;
}
