"""Delivery: one lane per chat sends every message in parts and settles every outcome.

courier    finds chats with due work and runs their lanes, one operation in flight in each
sender     sends a part; decides whether and when a part that was refused is sent again
settler    decides whether a part in doubt is sent again: by proof, by an edit, or labelled
ledger     storage, limits and time that these share; commits outcomes and learned waits
parts      cuts a message into parts and albums
lanes      the lock of each chat, which progress shares
limits     token buckets of accounts and chats
receipts   which of two delivery receipts counts
"""
