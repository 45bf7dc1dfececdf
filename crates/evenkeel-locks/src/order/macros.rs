//! The macro that declares an order.

/// Declares levels and their order, all in one place.
///
/// A line `A < B < C;` declares three levels, of which the first is taken first. Attributes go
/// before a name, a visibility before the line. A line `also A < D;` declares nothing: it relates
/// levels of other lines. A line `async A < B;` declares levels of locks that are awaited, see
/// [`r#async`](mod@crate::async): all of them come before all others. What follows from the lines together holds too; levels that nothing relates
/// cannot be held together. At most 64 levels.
///
/// A first line `root House;` gives the order a root of its own, a [`Realm`](crate::Realm): for a library, whose
/// callers may hold locks of theirs. It is had from [`with_root_of`](crate::with_root_of).
///
/// ```
/// use evenkeel_locks::{Mutex, lock_order, with_root};
///
/// lock_order! {
///     /// Who may stop.
///     pub Shutdown < Phase < /** What was done. */ Steps;
///     pub Component < Resource;
///     also Phase < Component;
/// }
///
/// let shutdown = Mutex::<Shutdown, _>::new(false);
/// let resource = Mutex::<Resource, _>::new(3);
/// with_root(|root| {
///     let mut shutdown = shutdown.lock(root);
///     assert_eq!(*resource.lock(shutdown.cap()), 3); // Shutdown < Phase < Component < Resource
/// });
/// ```
///
/// An order with a circle does not compile:
///
/// ```compile_fail,E0080
/// evenkeel_locks::lock_order! { A < B < C; also C < A; }
/// ```
///
/// Nor do locks taken against it:
///
/// ```compile_fail,E0277
/// use evenkeel_locks::{Mutex, lock_order, with_root};
///
/// lock_order! { Outer < Inner; }
/// let (outer, inner) = (Mutex::<Outer, _>::new(()), Mutex::<Inner, _>::new(()));
/// with_root(|root| {
///     let mut inner = inner.lock(root);
///     outer.lock(inner.cap()); // `Outer` cannot be locked while `Inner` is held
/// });
/// ```
#[macro_export]
macro_rules! lock_order {
    ($(#[$attribute:meta])* root $visible:vis $root:ident; $($lines:tt)*) => {
        $crate::__lock_order! { @realm [$(#[$attribute])*] [$visible] $root }
        $crate::__lock_order! { @lines $root [] [] $($lines)* }
    };
    ($($lines:tt)*) => { $crate::__lock_order! { @lines __Root [] [] $($lines)* } };
}

/// The steps of [`lock_order!`]: lines into levels and chains, then all of it out.
#[doc(hidden)]
#[macro_export]
macro_rules! __lock_order {
    (@lines $root:ident [$($levels:tt)*] [$($chains:tt)*] also $first:ident $(< $next:ident)+; $($rest:tt)*) => {
        $crate::__lock_order! { @lines $root [$($levels)*] [$($chains)* [$first $($next)+]] $($rest)* }
    };
    (@lines $root:ident [$($levels:tt)*] [$($chains:tt)*]
        $(#[$attribute:meta])* async $visible:vis $first:ident $(< $(#[$more:meta])* $next:ident)*; $($rest:tt)*
    ) => {
        $crate::__lock_order! { @lines $root
            [$($levels)* {[$(#[$attribute])*] [$visible] true $first}
                $({[$(#[$more])*] [$visible] true $next})*]
            [$($chains)* [$first $($next)*]]
            $($rest)*
        }
    };
    (@lines $root:ident [$($levels:tt)*] [$($chains:tt)*]
        $(#[$attribute:meta])* $visible:vis $first:ident $(< $(#[$more:meta])* $next:ident)*; $($rest:tt)*) => {
        $crate::__lock_order! { @lines $root
            [$($levels)* {[$(#[$attribute])*] [$visible] false $first}
                $({[$(#[$more])*] [$visible] false $next})*]
            [$($chains)* [$first $($next)*]]
            $($rest)*
        }
    };
    (@lines $root:ident [$($levels:tt)+] [$($chains:tt)*]) => {
        $crate::__lock_order! { @order $root [$($levels)+] [$($chains)*] }
    };
    (@realm [$($attribute:tt)*] [$visible:vis] $root:ident) => {
        #[doc = concat!("The root `", stringify!($root), "`: nothing of its order is held.")]
        ///
        $($attribute)*
        #[derive(Debug)]
        $visible enum $root {}
        const _: () = {
            ::std::thread_local! {
                static LENT: $crate::__order::IsLent = const { $crate::__order::IsLent::new() };
            }
            impl $crate::Level for $root {
                const NAME: &'static str = stringify!($root);
                const RANK: u32 = 0;
                const IS_ASYNC: bool = true;
            }
            impl $crate::Realm for $root {
                fn lent() -> &'static ::std::thread::LocalKey<$crate::__order::IsLent> {
                    &LENT
                }
            }
            impl $crate::__order::Relation<$root> for $root {
                type Answer = $crate::__order::Holds<false>;
            }
        };
    };
    (@order $root:ident
        [$({[$($attribute:tt)*] [$visible:vis] $is_async:literal $level:ident})+]
        [$([$($link:ident)+])*]
    ) => {
        $(
            #[doc = concat!("The lock level `", stringify!($level), "`.")]
            ///
            $($attribute)*
            #[derive(Debug)]
            $visible enum $level {}
        )+
        const _: () = {
            #[allow(unused_imports, reason = "an order without a root of its own has that of the thread")]
            use $crate::Root as __Root;
            #[allow(non_camel_case_types, clippy::upper_case_acronyms, reason = "named as the levels are")]
            enum __At { $($level),+ }
            const __LEVELS: usize = [$(__At::$level as usize),+].len();
            const __ORDER: $crate::__order::Graph<__LEVELS> =
                $crate::__order::Graph::of(&[$(&[$(__At::$link as usize),+]),*], &[$($is_async),+]);
            $(
                impl $crate::Level for $level {
                    const NAME: &'static str = stringify!($level);
                    const RANK: u32 = __ORDER.rank(__At::$level as usize);
                    const IS_ASYNC: bool = $is_async;
                }
                impl $crate::__order::Relation<$root> for $level {
                    type Answer = $crate::__order::Holds<true>;
                }
            )+
            $crate::__lock_order! { @rows [$($level)+] [$($level)+] }
        };
    };
    (@rows [$($held:ident)+] $levels:tt) => { $($crate::__lock_order! { @row $held $levels })+ };
    (@row $held:ident [$($level:ident)+]) => {
        $(
            impl $crate::__order::Relation<$held> for $level {
                type Answer = $crate::__order::Holds<
                    { __ORDER.is_before(__At::$held as usize, __At::$level as usize) },
                >;
            }
        )+
    };
}
