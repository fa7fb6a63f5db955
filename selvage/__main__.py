from selvage.cli import main

main()
