"""Chats: what each user asked, and what was answered, kept in the order in which it was asked."""
