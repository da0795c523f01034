"""What `roost up --sandbox` needs of a channel: its fake network, and a phone to use it with."""
