package org.distilltophone.runner;

import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.StandardCopyOption;
import org.distilltophone.core.Sha256;

/** The folder of distill-bench on this device: {@code files} named by their SHA-256, {@code results} named by key. */
final class Store {
    /** A file is missing, or its content does not match its name. */
    static final class Damaged extends Exception {
        private static final long serialVersionUID = 1;

        Damaged(String name) {
            super(name);
        }
    }

    private static final long LOCK_MILLIS = 40000; // an interrupted run may need this long to notice that the host is gone
    private static final String PLAIN = "[A-Za-z0-9][A-Za-z0-9._-]{0,99}";

    private final File folder;

    Store(String folder) {
        this.folder = new File(folder);
    }

    /**
     * Maps a file that the host sent, and checks its hash.
     *
     * @throws Damaged missing or changed; the file is deleted, so that the host sends it again
     */
    ByteBuffer content(String name) throws IOException, Damaged {
        File file = new File(new File(folder, "files"), plain(name));
        if (file.isFile()) {
            try (FileInputStream stream = new FileInputStream(file)) {
                ByteBuffer content = stream.getChannel().map(FileChannel.MapMode.READ_ONLY, 0, file.length());
                if (Sha256.of(content).equals(name)) {
                    return content.order(ByteOrder.nativeOrder());
                }
            }
            Files.deleteIfExists(file.toPath());
        }
        throw new Damaged(name);
    }

    Npy array(String name) throws IOException, Damaged {
        return Npy.read(content(name));
    }

    /** Writes a result atomically and returns its SHA-256. */
    String save(String key, byte[] data) throws IOException {
        File results = new File(folder, "results");
        File file = new File(results, plain(key));
        File temporary = new File(results, "." + key + "." + process());
        try {
            try (FileOutputStream out = new FileOutputStream(temporary)) {
                out.write(data);
            }
            Files.move(temporary.toPath(), file.toPath(), StandardCopyOption.REPLACE_EXISTING, StandardCopyOption.ATOMIC_MOVE);
        } finally {
            Files.deleteIfExists(temporary.toPath());
        }
        return Sha256.of(data);
    }

    private static String plain(String name) throws IOException {
        if (!name.matches(PLAIN)) {
            throw new IOException("'" + name + "' is not a valid file name");
        }
        return name;
    }

    static String process() throws IOException {
        return new File("/proc/self").getCanonicalFile().getName();
    }

    /**
     * Locks the folder until the file is closed, because two runs would disturb each other.
     *
     * @throws IOException another run holds the lock
     */
    RandomAccessFile lock() throws IOException {
        RandomAccessFile file = new RandomAccessFile(new File(folder, "lock"), "rw");
        boolean held = false;
        try {
            long until = System.nanoTime() + LOCK_MILLIS * 1000000;
            while (file.getChannel().tryLock() == null) {
                if (System.nanoTime() > until) {
                    throw new IOException("another measurement is running there (process " + file.readLine() + ")");
                }
                Thread.sleep(500);
            }
            file.setLength(0);
            file.write(process().getBytes(StandardCharsets.US_ASCII));
            held = true;
            return file;
        } catch (InterruptedException error) {
            throw new IOException("interrupted");
        } finally {
            if (!held) {
                file.close();
            }
        }
    }
}
