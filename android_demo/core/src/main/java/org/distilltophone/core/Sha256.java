package org.distilltophone.core;

import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

/** Computes SHA-256 as hex digits. */
public final class Sha256 {
    private Sha256() {}

    public static String of(byte[] data) {
        return of(ByteBuffer.wrap(data));
    }

    /** Hashes the bytes between position and limit, which do not change. */
    public static String of(ByteBuffer data) {
        MessageDigest digest;
        try {
            digest = MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException error) {
            throw new IllegalStateException(error); // every Java platform has it
        }
        digest.update(data.duplicate());
        StringBuilder out = new StringBuilder(64);
        for (byte b : digest.digest()) {
            out.append(Character.forDigit(b >> 4 & 15, 16)).append(Character.forDigit(b & 15, 16));
        }
        return out.toString();
    }
}
