"""Verilog of components: conversion by Yosys, and the rewriting of its text."""
