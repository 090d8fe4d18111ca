//! A bank: one object is one account, and accounts send each other money.
//!
//! ```text
//! curl -X POST localhost:8787/Account/ada/deposit?cents=500
//! curl -X POST 'localhost:8787/Account/ada/transfer?to=bob&cents=200'
//! curl localhost:8787/Account/bob
//! 200
//! ```
//!
//! Money neither vanishes nor doubles, whatever stops in between. One turn takes the
//! money, writes down what is owed and sets an alarm; it all lands, or none of it. The
//! call to the other account leaves after that. Should it fail, or this object fall
//! over, the alarm tries again; the other account keeps the ids that it has seen, so a
//! payment that comes twice counts once.

use dormouse_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use std::time::Duration;

needs! {
    namespace ACCOUNTS: Account;
}

struct Account {
    state: State,
    accounts: Namespace<Account>,
}

/// Why money does not move.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Declined {
    NotEnough { balance: i64 },
    NotPositive,
}

impl std::fmt::Display for Declined {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotEnough { balance } => write!(out, "there are only {balance} cents"),
            Self::NotPositive => out.write_str("an amount is more than nothing"),
        }
    }
}

impl std::error::Error for Declined {}

#[object_api]
impl Account {
    /// What is on the account, in cents.
    pub fn balance(&self) -> Result<i64> {
        let sql = self.state.sql();
        Ok(sql.one("SELECT coalesce(sum(cents), 0) FROM entry", ())?)
    }

    /// Books a payment from another account; once, however often it comes.
    pub fn receive(&self, payment: String, cents: i64) -> Result<()> {
        let sql = self.state.sql();
        sql.exec(
            "INSERT OR IGNORE INTO entry VALUES (?, ?)",
            (payment, cents),
        )?;
        Ok(())
    }

    /// Sends money to another account; what is left.
    pub async fn transfer(&self, to: String, cents: i64) -> Result<i64> {
        let balance = self.take(&to, cents)?;
        // From here on the payment is owed. Whoever asked need not wait for a bank that
        // sleeps badly: what fails now is tried again by the alarm.
        if let Err(error) = self.pay().await {
            log::warn!("a payment waits: {error:#}");
        }
        Ok(balance)
    }
}

impl Account {
    /// One turn: nothing in here waits, so all of it lands together.
    fn take(&self, to: &str, cents: i64) -> Result<i64> {
        ensure!(cents > 0, Declined::NotPositive);
        let balance = self.balance()?;
        ensure!(balance >= cents, Declined::NotEnough { balance });
        let sql = self.state.sql();
        let payment: String = sql.one("SELECT lower(hex(randomblob(16)))", ())?;
        sql.exec("INSERT INTO entry VALUES (?, ?)", (&payment, -cents))?;
        sql.exec("INSERT INTO owed VALUES (?, ?, ?)", (&payment, to, cents))?;
        self.state.alarm().set(Duration::from_secs(1))?;
        Ok(balance - cents)
    }

    /// Pays what is owed.
    async fn pay(&self) -> Result<()> {
        let sql = self.state.sql();
        let owed: Vec<(String, String, i64)> =
            sql.all("SELECT payment, receiver, cents FROM owed", ())?;
        for (payment, to, cents) in owed {
            let receiver = self.accounts.get_by_name(&to);
            receiver.receive(payment.clone(), cents).await?;
            sql.exec("DELETE FROM owed WHERE payment = ?", (payment,))?;
        }
        Ok(())
    }

    async fn answer(&self, request: Request) -> Result<Response> {
        let cents = request.query_value("cents").unwrap_or_default().parse();
        let balance = match (request.method().as_str(), request.path()) {
            ("GET", "/") => self.balance()?,
            ("POST", "/deposit") => {
                let payment = self
                    .state
                    .sql()
                    .one("SELECT lower(hex(randomblob(16)))", ())?;
                self.receive(payment, cents?)?;
                self.balance()?
            }
            ("POST", "/transfer") => {
                let to = request.query_value("to").context("to whom?")?;
                self.transfer(to.into_owned(), cents?).await?
            }
            _ => return Ok(Response::not_found()),
        };
        Ok(Response::text(format!("{balance}\n")))
    }
}

#[durable_object]
impl DurableObject for Account {
    async fn new(state: State, env: Env) -> Result<Self> {
        let sql = state.sql();
        sql.exec(
            "CREATE TABLE IF NOT EXISTS entry (payment TEXT PRIMARY KEY, cents INTEGER NOT NULL);
             CREATE TABLE IF NOT EXISTS owed (
                 payment TEXT PRIMARY KEY, receiver TEXT NOT NULL, cents INTEGER NOT NULL)",
            (),
        )?;
        let accounts = env.namespace(ACCOUNTS)?;
        Ok(Self { state, accounts })
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        match self.answer(request).await {
            Err(error) if error.is::<Declined>() => {
                Ok(Response::text(format!("{error}\n")).with_status(409))
            }
            answer => answer,
        }
    }

    async fn alarm(&self, _info: AlarmInfo) -> Result<()> {
        self.pay().await
    }
}
