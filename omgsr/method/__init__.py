"""The paper: t* (Eqs. 4, 5, 19), the generator (Eq. 7), its adapters, losses and run card.

May import the rooms before it: `core`, `data`, `evaluation`, `models`.
"""
