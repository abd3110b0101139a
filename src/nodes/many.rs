//! The nodes of many domains, read together.
//!
//! Owns how many are asked for at a time. Never reads anything else than [`Nodes::read`] does, and tells
//! of each domain what that would tell.

use super::{Nodes, NodesError, Stored};
use crate::domain::Identity;
use crate::xenstore::Batch;

/// So many domains at a time: what is kept of the requests and their answers does not grow with the host.
const AT_A_TIME: usize = 1024;

/// Reads those of each of `identities`.
///
/// # Errors
/// Each has its own: one that cannot be read keeps no other from being read.
pub fn read_many(store: &impl Batch, identities: &[Identity]) -> Vec<Result<Stored, NodesError>> {
    identities.chunks(AT_A_TIME).flat_map(|identities| read(store, identities)).collect()
}

fn read(store: &impl Batch, identities: &[Identity]) -> Vec<Result<Stored, NodesError>> {
    let nodes: Vec<Nodes> = identities.iter().map(|identity| Nodes::of(*identity)).collect();
    let paths: Vec<&str> = nodes.iter().flat_map(Nodes::paths).collect();
    match store.read_each(&paths) {
        Ok(values) => {
            let mut values = values.into_iter();
            nodes.iter().map(|nodes| nodes.stored(&mut values)).collect()
        }
        // Something is wrong with one of them, or with all.
        Err(_) => nodes.iter().map(|nodes| nodes.read(store)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::domain::{DomId, Uuid};
    use crate::size::Kib;
    use crate::xenstore::{StoreError, Xs};

    /// A store in which one node is not text and one is no number.
    struct Odd;

    impl Xs for Odd {
        fn directory(&self, _: &str) -> io::Result<Vec<Box<str>>> {
            Ok(Vec::new())
        }
        fn read(&self, path: &str) -> io::Result<Box<str>> {
            match path {
                "/local/domain/2/memory/target" => {
                    Err(StoreError::NotText { path: path.to_owned() }.into())
                }
                "/local/domain/3/memory/target" => Ok("much".into()),
                path => Ok(path.split('/').nth(3).unwrap_or_default().into()),
            }
        }
        fn write(&self, _: &str, _: &str) -> io::Result<()> {
            Ok(())
        }
        fn rm(&self, _: &str) -> io::Result<()> {
            Ok(())
        }
    }
    impl Batch for Odd {}

    #[test]
    fn one_that_cannot_be_read_keeps_no_other_from_it() {
        let identities: Vec<Identity> = [1, 2, 3, 4]
            .map(|number| Identity { domid: DomId::new(number).unwrap(), uuid: Uuid::default() })
            .to_vec();
        for these in [&identities[..], &identities[2..]] {
            let read = read_many(&Odd, these);
            assert_eq!(read.len(), these.len());
            for (identity, read) in these.iter().zip(read) {
                let domid = identity.domid.get();
                match read {
                    Ok(stored) => assert_eq!(stored.target, Some(Kib(domid.into()))),
                    Err(NodesError::Store(_)) => assert_eq!(domid, 2),
                    Err(NodesError::NotASize { path, .. }) => {
                        assert_eq!((domid, &*path), (3, "/local/domain/3/memory/target"));
                    }
                }
            }
        }
    }
}
