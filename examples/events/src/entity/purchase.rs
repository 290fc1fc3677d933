//! A purchase that its buyer may send again: the key they gave it, and the answer they got.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "purchases")]
pub struct Model {
    /// Part of the key, so that one buyer's key says nothing about another's.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: i64,
    #[sea_orm(
        primary_key,
        auto_increment = false,
        column_type = "String(StringLen::N(64))"
    )]
    pub key: String,
    pub event_id: i64,
    pub quantity: i32,
    pub held: i64,
}

impl ActiveModelBehavior for ActiveModel {}
