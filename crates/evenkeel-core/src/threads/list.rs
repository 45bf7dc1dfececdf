//! Doubly linked lists inside of a `Vec`: joining and leaving take the same
//! short time however long the list is, and nothing is allocated.

/// No place.
pub(super) const NIL: u32 = u32::MAX;

/// Neighbours of a node in one list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) prev: u32,
    pub(super) next: u32,
}

impl Link {
    pub(super) const NONE: Self = Self { prev: NIL, next: NIL };
}

/// Nodes that are in lists; `which` tells apart the lists that one node is in.
pub(super) trait Nodes {
    fn link(&mut self, at: u32, which: usize) -> &mut Link;
}

/// Both ends of a list. Whether a node is in it, its owner knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    head: u32,
    tail: u32,
    len: u32,
}

impl List {
    pub(super) const EMPTY: Self = Self { head: NIL, tail: NIL, len: 0 };

    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn front(&self) -> Option<u32> {
        (self.head != NIL).then_some(self.head)
    }

    pub(super) fn push_back(&mut self, nodes: &mut impl Nodes, which: usize, at: u32) {
        *nodes.link(at, which) = Link { prev: self.tail, next: NIL };
        match self.tail {
            NIL => self.head = at,
            tail => nodes.link(tail, which).next = at,
        }
        self.tail = at;
        self.len += 1;
    }

    /// Takes out a node that is in this list.
    pub(super) fn unlink(&mut self, nodes: &mut impl Nodes, which: usize, at: u32) {
        let Link { prev, next } = std::mem::replace(nodes.link(at, which), Link::NONE);
        match prev {
            NIL => self.head = next,
            prev => nodes.link(prev, which).next = next,
        }
        match next {
            NIL => self.tail = prev,
            next => nodes.link(next, which).prev = prev,
        }
        self.len -= 1;
    }
}
