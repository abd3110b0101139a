//! xenstore-rs's traits for [`Client`] and [`Span`]. The error inside each [`io::Error`] is a [`StoreError`](super::StoreError).

use std::io;

use xenstore_rs::{Xs, XsTransaction, XsTransactionSpan};

use super::client::{Client, Span};
use super::wire::Request;
use super::{Answer, Nodes as _};

impl Xs for Client {
    fn directory(&self, path: &str) -> io::Result<Vec<Box<str>>> {
        let missing = || Request::directory(path).map(|request| request.answered(Answer::NotFound));
        let Some(names) = self.list(path)? else { return Err(missing()?.into()) };
        Ok(names.into_iter().map(String::into_boxed_str).collect())
    }

    fn read(&self, path: &str) -> io::Result<Box<str>> {
        let text = String::from_utf8(self.ask(&Request::read(path)?)?);
        let text = text.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(text.into_boxed_str())
    }

    fn write(&self, path: &str, data: &str) -> io::Result<()> {
        Ok(self.write_each(&[(path, data)])?)
    }

    fn rm(&self, path: &str) -> io::Result<()> {
        Ok(self.do_each(&[Request::rm(path)?], None)?)
    }
}

impl Xs for Span {
    fn directory(&self, path: &str) -> io::Result<Vec<Box<str>>> {
        self.client.directory(path)
    }

    fn read(&self, path: &str) -> io::Result<Box<str>> {
        self.client.read(path)
    }

    fn write(&self, path: &str, data: &str) -> io::Result<()> {
        self.client.write(path, data)
    }

    fn rm(&self, path: &str) -> io::Result<()> {
        self.client.rm(path)
    }
}

impl XsTransaction for Client {
    type Span = Span;

    fn transaction(&self) -> io::Result<Span> {
        Ok(self.span(&[])?.0)
    }
}

impl XsTransactionSpan for Span {
    fn commit(mut self) -> io::Result<()> {
        Ok(self.end()?)
    }
}
