//! Where the rows are.

use sea_orm::{DatabaseConnection, Database, TransactionTrait, TransactionSession};
use crate::{schema, seed_data};

pub type Db = DatabaseConnection;
