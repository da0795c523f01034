"""The declarative base of every table: constraint names, and the types that columns share."""

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Double, Integer, MetaData, Text, text
from sqlalchemy.orm import DeclarativeBase

# Autoincrementing keys: SQLite only autoincrements INTEGER, PostgreSQL wants the room.
Serial = BigInteger().with_variant(Integer(), "sqlite")

# The default of a text column that was added to a table with rows.
EMPTY = text("''")


class Base(DeclarativeBase):
    """Base of all tables; its naming convention gives constraints one name on both databases."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text(),
        float: Double(),
        dict[str, Any]: JSON(),
        list[Any]: JSON(),
    }
