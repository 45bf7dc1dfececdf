//! The peers: two allocators and three pools of boxes.

use crate::contender::Source;
use crate::sys::Allocator;
use crate::sys::touch;
use std::ops::DerefMut;

/// Boxes that a pool keeps at most; more than any part takes.
const KEPT: usize = 1024;

pub(crate) use mimalloc::MiMalloc as Mimalloc;
pub(crate) use tikv_jemallocator::Jemalloc;

impl Allocator for Mimalloc {
    const IT: Self = Self;
}

impl Allocator for Jemalloc {
    const IT: Self = Self;
}

fn zeroes(bytes: usize) -> Box<[u8]> {
    vec![0; bytes].into()
}

pub(crate) struct ObjectPool(object_pool::Pool<Box<[u8]>>, usize);

impl Source for ObjectPool {
    type Held<'a> = object_pool::Reusable<'a, Box<[u8]>>;

    fn new(bytes: usize) -> Self {
        Self(object_pool::Pool::from_vec(Vec::with_capacity(KEPT)), bytes)
    }

    #[inline]
    fn take(&self) -> Self::Held<'_> {
        self.0.pull(|| zeroes(self.1))
    }

    #[inline]
    fn touch(held: &mut Self::Held<'_>) {
        touch(held.deref_mut());
    }
}

pub(crate) struct Boxes(usize);

impl opool::PoolAllocator<Box<[u8]>> for Boxes {
    fn allocate(&self) -> Box<[u8]> {
        zeroes(self.0)
    }
}

pub(crate) struct Opool(opool::Pool<Boxes, Box<[u8]>>);

impl Source for Opool {
    type Held<'a> = opool::RefGuard<'a, Boxes, Box<[u8]>>;

    fn new(bytes: usize) -> Self {
        Self(opool::Pool::new(KEPT, Boxes(bytes)))
    }

    #[inline]
    fn take(&self) -> Self::Held<'_> {
        self.0.get()
    }

    #[inline]
    fn touch(held: &mut Self::Held<'_>) {
        touch(held.deref_mut());
    }
}

pub(crate) struct ArrayQueue(crossbeam_queue::ArrayQueue<Box<[u8]>>, usize);

/// A box that goes back to its queue.
pub(crate) struct Queued<'a>(&'a ArrayQueue, Box<[u8]>);

impl Drop for Queued<'_> {
    #[inline]
    fn drop(&mut self) {
        let _full = self.0.0.push(std::mem::take(&mut self.1));
    }
}

impl Source for ArrayQueue {
    type Held<'a> = Queued<'a>;

    fn new(bytes: usize) -> Self {
        Self(crossbeam_queue::ArrayQueue::new(KEPT), bytes)
    }

    #[inline]
    fn take(&self) -> Queued<'_> {
        Queued(self, self.0.pop().unwrap_or_else(|| zeroes(self.1)))
    }

    #[inline]
    fn touch(held: &mut Queued<'_>) {
        touch(&mut held.1);
    }
}
